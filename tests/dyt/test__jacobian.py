"""The averaged partial Jacobian norm, against Jacobians computed in full."""

import pytest
import torch
from tests.dyt._surgery.models import IDS, new
from torch import nn

import dyt

WIDTH, TOKENS = 4, 3


class Residual(nn.Module):
    """x + W norm(x), block by block, and a final norm."""

    def __init__(self, depth=3, std=0.3):
        super().__init__()
        torch.manual_seed(0)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(depth))
        self.linears = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))
        self.norm = nn.LayerNorm(WIDTH)
        for linear in self.linears:
            nn.init.normal_(linear.weight, std=std)

    def stream(self, x, first):
        """The input of the final norm from that of norm ``first``."""
        for norm, linear in list(zip(self.norms, self.linears, strict=True))[first:]:
            x = x + linear(norm(x))
        return x

    def forward(self, x):
        return self.norm(self.stream(x, 0))


def exact(model, x, first):
    """|J|_F^2 / n of the stream from norm ``first`` to the final one."""
    for index in range(first):
        x = x + model.linears[index](model.norms[index](x))
    jacobian = torch.autograd.functional.jacobian(lambda x: model.stream(x, first), x)
    return jacobian.square().sum().item() / x.numel()


@pytest.mark.parametrize("to", [None, "dyt", "bhyt", "identity"])
def test_it_is_the_jacobians_frobenius_norm(to):
    model, x = Residual().double(), torch.randn(2, TOKENS, WIDTH, dtype=torch.float64)
    if to:
        dyt.convert(model, to, exclude="norm")
    found = dyt.jacobian_norms(model, x, probes=4000)
    assert list(found) == ["norms.0", "norms.1", "norms.2"]
    for index, name in enumerate(found):
        assert found[name] == pytest.approx(exact(model, x, index), rel=0.05)
    assert not x.requires_grad
    assert all(p.grad is None for p in model.parameters())


def test_a_stream_that_nothing_is_added_to_has_norm_one():
    model = Residual(std=0.0).double()
    found = dyt.jacobian_norms(model, torch.randn(64, TOKENS, WIDTH).double(), probes=64)
    assert list(found.values()) == pytest.approx([1.0] * 3, rel=0.05)


def test_the_same_seed_gives_the_same_numbers():
    model = new("llama")
    once, again = (dyt.jacobian_norms(model, {"input_ids": IDS}, seed=3) for _ in range(2))
    assert once == again != dyt.jacobian_norms(model, {"input_ids": IDS}, seed=4)
    assert set(once) == {site.name for site in dyt.audit(model)} - {"model.norm"}
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="probes must be at least 1, got 0"):
        dyt.jacobian_norms(Residual(), torch.randn(1, WIDTH), probes=0)
    with pytest.raises(ValueError, match="Sequential ran 1 norms: two are needed"):
        dyt.jacobian_norms(nn.Sequential(nn.LayerNorm(4)), torch.randn(2, 4))
    with pytest.raises(ValueError, match="the first batch does not fit Residual"):
        dyt.jacobian_norms(Residual(), torch.randn(2, 7))
