"""Fitting the layers to their norms, before training and after."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import dyt
from dyt import ScaledEmbedding


class Block(nn.Module):
    def __init__(self, width, norm):
        super().__init__()
        self.norm = norm(width)
        self.mix = nn.Linear(width, width)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return x + self.drop(self.mix(functional.gelu(self.norm(x))))


class Tiny(nn.Module):
    """An embedding far too small, pre-norm blocks, a final norm: what a norm has to correct."""

    def __init__(self, width=24, norm=nn.LayerNorm, depth=3):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(50, width)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(width, norm) for _ in range(depth))
        self.norm = norm(width)
        self.head = nn.Linear(width, 50)

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def batch(seed=0):
    return torch.randint(50, (8, 16), generator=torch.Generator().manual_seed(seed))


def seen_by(model, ids):
    """Input and output of each point-wise layer, in eval mode."""
    seen, handles = {}, []
    for name, module in model.named_modules():
        if isinstance(module, dyt.PointwiseNorm):
            handles.append(
                module.register_forward_hook(
                    lambda m, args, out, name=name: seen.update({name: (args[0], out)})
                )
            )
    with torch.no_grad():
        model.eval()(ids)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
def test_at_the_start_each_layer_hands_on_what_its_norm_would(norm):
    model = dyt.convert(Tiny(norm=norm), "dyt")
    found = dyt.calibrate(model, [batch()], goal="start")
    assert found.embedding_scale == pytest.approx(50, rel=0.1)
    assert isinstance(model.embed, ScaledEmbedding)
    for fit, (name, (x, y)) in zip(found.fits, seen_by(model, batch()).items(), strict=True):
        layer = model.get_submodule(name)
        assert fit.name == name
        assert layer.alpha.item() * x.square().mean().sqrt().item() == pytest.approx(0.5, rel=1e-4)
        assert layer.weight.unique().numel() == 1
        assert y.square().mean().sqrt().item() == pytest.approx(1, abs=0.1)
        assert fit.r2 > 0.9


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
def test_the_scalars_are_those_of_least_squares(norm):
    model = Tiny(depth=0, norm=norm)
    with torch.no_grad():
        model.embed.weight.add_(0.03)  # a common part, which a LayerNorm takes away
    dyt.convert(model, "dyt")
    dyt.calibrate(model, [batch()], goal="start")
    ((x, y),) = seen_by(model, batch()).values()
    layer = model.norm
    f, target = torch.tanh(layer.alpha * x), norm(24)(x)
    columns = [f.flatten()] if layer.bias is None else [f.flatten(), torch.ones(f.numel())]
    columns = torch.stack(columns, 1).double()
    best = torch.linalg.lstsq(columns, target.detach().flatten()[:, None].double()).solution
    assert layer.weight[0].item() == pytest.approx(best[0].item(), rel=1e-4)
    assert layer.weight.unique().numel() == 1
    torch.testing.assert_close(y.flatten().double(), (columns @ best)[:, 0], rtol=1e-4, atol=1e-5)
    if layer.bias is not None:
        assert layer.bias.unique().numel() == 1
        assert y.mean().item() == pytest.approx(0, abs=1e-4)


def test_an_input_that_does_not_vary_leaves_the_layer_usable():
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    nn.init.zeros_(model[0].weight)
    nn.init.zeros_(model[0].bias)
    dyt.convert(model, "dyt")
    dyt.calibrate(model, [torch.randn(8, 4)], goal="start")
    assert model[1].alpha.item() == 0.5
    assert torch.equal(model[1].weight, torch.ones(4))
    assert torch.equal(model[1].bias, torch.zeros(4))


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
@pytest.mark.parametrize("to", ["dyt", "derf", "isru"])
def test_a_trained_model_comes_closer_to_itself(norm, to):
    model = Tiny(norm=norm)
    with torch.no_grad():  # as training would leave them: channels of their own
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
        model.embed.weight.mul_(50)
    truth = copy.deepcopy(model).eval()(batch(9))
    swapped = dyt.convert(model, to)
    plain = (swapped.eval()(batch(9)) - truth).square().mean().item()
    found = dyt.calibrate(swapped, [batch(1), batch(2), batch(3)])
    fitted = (swapped.eval()(batch(9)) - truth).square().mean().item()
    assert fitted < 0.25 * plain
    assert found.worst.r2 > 0.8
    assert found.worst.name in str(found)


def test_fits_per_channel_are_those_of_numpy():
    model = Tiny(depth=0)
    with torch.no_grad():
        model.norm.weight.uniform_(0.5, 2)
        model.norm.bias.normal_()
    norm = copy.deepcopy(model.norm)
    dyt.convert(model, "dyt")
    dyt.calibrate(model, [batch(1), batch(2)])
    ids = torch.cat([batch(1), batch(2)])
    ((x, _),) = seen_by(model, ids).values()
    f, target = torch.tanh(model.norm.alpha * x).flatten(0, 1), norm(x).flatten(0, 1)
    for channel in (0, 7, 23):
        columns = torch.stack([f[:, channel], torch.ones(len(f))], 1).double()
        slope, offset = torch.linalg.lstsq(columns, target[:, channel].double()).solution
        assert model.norm.weight[channel].item() == pytest.approx(slope.item(), rel=1e-3)
        assert model.norm.bias[channel].item() == pytest.approx(offset.item(), abs=1e-3)


def test_a_layer_without_weight_gets_its_alpha():
    model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8, elementwise_affine=False))
    dyt.convert(model, "dyt")
    x = torch.randn(64, 8) * 7
    (fit,) = dyt.calibrate(model, [x], goal="start").fits
    assert 0.3 < model[1].alpha.item() * fit.input_rms < 3
    assert fit.r2 > 0.5


def test_channels_first():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 1))

    class Norm2d(nn.LayerNorm):
        def forward(self, x):
            return super().forward(x.movedim(1, -1)).movedim(-1, 1)

    model.insert(1, Norm2d(6))
    dyt.convert(model, "dyt")
    assert not model[1].channels_last
    found = dyt.calibrate(model, [torch.randn(4, 3, 5, 5)])
    assert found.worst.r2 > 0.8


def test_mode_gradients_and_random_numbers_stay_as_they_were():
    model = dyt.convert(Tiny(), "dyt").train()
    model.blocks[0].eval()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    dyt.calibrate(model, [batch()], goal="start")
    assert torch.equal(torch.rand(1), expected)
    assert model.training
    assert not model.blocks[0].training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())


def test_equal_batches_give_equal_parameters():
    once, again = (dyt.convert(Tiny(), "dyt") for _ in range(2))
    dyt.calibrate(once, [batch()], goal="start")
    dyt.calibrate(again, [batch()], goal="start")
    assert all(
        torch.equal(a, b) for a, b in zip(once.parameters(), again.parameters(), strict=True)
    )


def test_an_embedding_of_a_condition_is_left_alone():
    class Conditioned(Tiny):
        def __init__(self):
            super().__init__()
            self.label = nn.Embedding(4, 24)

        def forward(self, ids, label):
            x = self.embed(ids) + 0 * self.label(label)[:, None]
            return self.head(self.norm(x))

    model = dyt.convert(Conditioned(), "dyt", include=["norm"])
    dyt.calibrate(model, [(batch(), torch.zeros(8, dtype=torch.long))], goal="start")
    assert isinstance(model.embed, ScaledEmbedding)
    assert type(model.label) is nn.Embedding


class Tied(Tiny):
    """Its output layer is its embedding."""

    def __init__(self, through):
        super().__init__()
        self.through = through
        if through == "module":
            self.head.weight = self.embed.weight

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x) if self.through == "module" else x @ self.embed.weight.T


@pytest.mark.parametrize("through", ["module", "function"])
def test_a_tied_head_does_not_read_the_token_back(through):
    model = dyt.convert(Tied(through), "dyt")
    found = dyt.calibrate(model, [batch()], goal="start")
    assert model.embed.scale.abs().unique().item() == pytest.approx(found.embedding_scale)
    assert model.embed.scale.sum().item() == pytest.approx(0, abs=1e-3)
    ids = batch()
    own = model.eval()(ids).log_softmax(-1).gather(-1, ids[..., None]).mean().item()
    assert own == pytest.approx(-math.log(50), abs=0.5)
    before = model.embed.scale.detach().clone()
    dyt.calibrate(model, [batch()], goal="start")  # again: the signs stay
    torch.testing.assert_close(model.embed.scale.detach(), before, rtol=1e-3, atol=0)


def test_an_untied_embedding_keeps_its_signs():
    model = dyt.convert(Tiny(), "dyt")
    dyt.calibrate(model, [batch()], goal="start")
    assert model.embed.scale.shape == (1,)
    assert model.embed.scale.item() > 0


def test_revert_brings_the_norms_and_the_embedding_back():
    model = Tiny()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    dyt.calibrate(dyt.convert(model, "dyt"), [batch()], goal="start")
    after = dyt.revert(model).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("model", "batches", "options", "message"),
    [
        (Tiny(), [batch()], {}, "Tiny has no layer that dyt.convert put in"),
        (dyt.convert(Tiny(), "dyt"), [], {}, "batches is empty"),
        (dyt.convert(Tiny(), "dyt"), [batch()], {"goal": "best"}, 'goal must be "start" or "norm"'),
        (dyt.convert(Tiny(), "dyt"), [(1, 2, 3)], {}, "the first batch does not fit Tiny"),
        (dyt.convert(Tiny(), "dyt").to("meta"), [batch()], {}, "on the meta device"),
    ],
)
def test_bad_input_is_named(model, batches, options, message):
    with pytest.raises(ValueError, match=message):
        dyt.calibrate(model, batches, **options)


def test_a_layer_that_no_batch_reaches_is_named():
    model = dyt.convert(Tiny(), "dyt")
    with pytest.raises(ValueError, match=r"does not reach .*blocks\.0\.norm"):
        dyt.calibrate(model, [batch()], run=lambda m, b: m.norm(m.embed(b)))
