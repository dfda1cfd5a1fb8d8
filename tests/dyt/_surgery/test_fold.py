"""Weights folded into linear layers: the same values, and a reason for what is left."""

import pytest
import torch
from tests.dyt._surgery.models import IDS, batch, new, output, trained
from torch import nn

import dyt


class Branch(nn.Module):
    """A pre-norm block, whose norm one or two linear layers read."""

    def __init__(self, bias=True, residual=False):
        super().__init__()
        self.norm, self.residual = nn.LayerNorm(8, bias=bias), residual
        self.a, self.b = nn.Linear(8, 6, bias=bias), nn.Linear(8, 6)

    def forward(self, x):
        y = self.norm(x)
        made = self.a(y.view(-1, 8)) + self.b(nn.functional.dropout(y, 0.5, self.training))
        return made + y[..., :6] if self.residual else made


@pytest.mark.parametrize("to", ["dyt", "derf", "arctan"])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_layers_take_the_weight(to, bias):
    model = trained(dyt.convert(Branch(bias), to)).eval()
    x = torch.randn(5, 8)
    expected = model(x)
    found = dyt.fold(model, x)
    assert found.folded == {"norm": ("a", "b")}
    assert not found.left
    assert model.norm.weight is None
    assert model.norm.bias is None
    torch.testing.assert_close(model(x), expected)
    if to == "dyt":
        torch.testing.assert_close(model.norm(x), torch.tanh(model.norm.alpha * x))


def test_a_linear_layer_without_bias_gets_one_where_the_layer_had_one():
    model = trained(dyt.convert(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 2, bias=False))))
    x = torch.randn(5, 8)
    expected = model(x)
    dyt.fold(model, x)
    torch.testing.assert_close(model[1].bias, expected.mean(0) - (model(x) - model[1].bias).mean(0))
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("name", ["llama", "gpt2", "vit", "gemma"])
def test_pre_norm_models_compute_the_same(name):
    model = trained(dyt.convert(new(name)))
    expected, norms = output(model, name), len(list(dyt.alphas(model)))
    found = dyt.fold(model, batch(name))
    torch.testing.assert_close(output(model, name), expected, rtol=1e-4, atol=1e-5)
    assert len(found.folded) + len(found.left) == norms
    assert len(found.folded) >= norms - 1
    assert all("shares" in why for why in found.left.values())


def test_post_norm_models_keep_what_their_residual_connections_read():
    model = trained(dyt.convert(new("bert")))
    expected = output(model, "bert")
    found = dyt.fold(model, batch("bert"))
    torch.testing.assert_close(output(model, "bert"), expected)
    assert any("add" in why for why in found.left.values())


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (Branch(residual=True), "its output is read by torch.Tensor.__getitem__ too"),
        (nn.Sequential(nn.LayerNorm(8)), "its output is read by who calls the model too"),
        (nn.Sequential(nn.LayerNorm(8), nn.ReLU()), "its output is read by"),
        (nn.Sequential(nn.LayerNorm((4, 8)), nn.Linear(8, 8)), "not of the last axis alone"),
    ],
)
def test_what_is_left_has_a_reason(model, why):
    dyt.convert(model)
    x = torch.randn(3, 4, 8) if "axis" in why else torch.randn(5, 8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = dyt.fold(model, x)
    assert not found.folded
    assert why in next(iter(found.left.values()))
    assert why in str(found)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_linear_layer_with_other_inputs_is_left():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.linear = dyt.DynamicTanh(8), nn.Linear(8, 8)

        def forward(self, x):
            return self.linear(self.norm(x)) + self.linear(x)

    assert "linear has other inputs too" in dyt.fold(Twice(), torch.randn(2, 8)).left["norm"]


def test_a_tied_weight_is_left():
    model = dyt.convert(new("llama-tied"))
    assert (
        "lm_head has a weight that another module shares"
        in (dyt.fold(model, [IDS]).left["model.norm"])
    )


def test_the_mode_is_as_before_and_a_model_without_layers_is_refused():
    model = dyt.convert(Branch()).train()
    dyt.fold(model, (torch.randn(2, 8),), run=lambda model, batch: model(batch[0]))
    assert all(module.training for module in model.modules())
    with pytest.raises(ValueError, match="Linear has no point-wise layer with a weight to fold"):
        dyt.fold(nn.Linear(8, 8), torch.randn(2, 8))
    with pytest.raises(ValueError, match="for x of shape"):
        dyt.fold(dyt.convert(Branch()), torch.randn(2, 7))
