"""Fitting the layers to their norms, before training and after."""

import copy
import math
import warnings
from collections import UserDict

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
        (dyt.convert(Tiny(), "dyt"), [batch()], {"rows": 0}, "rows must be at least 1, got 0"),
        (dyt.convert(Tiny(), "dyt"), {"ids": batch()}, {}, r"pass a list of batches, of one"),
        (dyt.convert(Tiny(), "dyt"), [batch(), "text"], {}, "batch 2 does not fit Tiny"),
        (
            dyt.convert(Tiny(), "dyt"),
            [batch()],
            {"mask": lambda ids: ids[0]},
            r"mask must return a tensor \[B, T\] or None for a batch, got \(16,\)",
        ),
    ],
)
def test_bad_input_is_named(model, batches, options, message):
    with pytest.raises(ValueError, match=message):
        dyt.calibrate(model, batches, **options)


def test_a_layer_that_no_batch_reaches_is_named():
    model = dyt.convert(Tiny(), "dyt")
    with pytest.raises(ValueError, match=r"does not reach .*blocks\.0\.norm"):
        dyt.calibrate(model, [batch()], run=lambda m, b: m.norm(m.embed(b)))


def counted(model):
    """A list that grows by one with every forward pass."""
    passes = []
    model.register_forward_hook(lambda *_: passes.append(1))
    return passes


@pytest.mark.parametrize("depth", [1, 9])
@pytest.mark.parametrize(
    ("batches", "options", "passes"),
    [
        (5, {}, 5),
        (1, {"goal": "start"}, 2),
        (5, {"goal": "start"}, 6),
        (500, {"rows": 300}, 3),  # 128 a batch
        (500, {"rows": 300, "goal": "start"}, 4),
        (500, {"rows": 128}, 1),
    ],
)
def test_the_number_of_passes_does_not_depend_on_the_number_of_layers(
    depth, batches, options, passes
):
    model = dyt.convert(Tiny(width=8, depth=depth), "dyt")
    seen = counted(model)
    found = dyt.calibrate(model, (batch(seed) for seed in range(batches)), **options)
    assert len(found.fits) == depth + 1
    assert len(seen) == passes


def in_turn(model, ids):
    """Each layer fitted by a pass of its own, after all layers before it."""
    names = [name for name, module in model.named_modules() if type(module) is dyt.DynamicTanh]
    for name in names:
        layer = model.get_submodule(name)
        x = seen_by(model, ids)[name][0].flatten(0, -2).double()
        target = functional.layer_norm(x, x.shape[-1:])
        layer.alpha.fill_(0.5 / x.square().mean().sqrt())
        f = torch.tanh(0.5 / x.square().mean().sqrt() * x)
        columns = torch.stack([f.flatten(), torch.ones(f.numel())], 1)
        slope, offset = torch.linalg.lstsq(columns, target.flatten()).solution
        layer.weight.fill_(slope)
        layer.bias.fill_(offset)


def test_one_pass_fits_as_a_pass_for_each_layer_does():
    model = dyt.convert(Tiny(), "dyt")
    with torch.no_grad():
        model.embed.weight.mul_(50)
    expected = copy.deepcopy(model)
    found = dyt.calibrate(model, [batch()], goal="start")
    with torch.no_grad():
        expected.embed.weight.mul_(found.embedding_scale)
        in_turn(expected, batch())
    for name, value in expected.named_parameters():
        if "norm" in name:
            torch.testing.assert_close(
                model.get_parameter(name), value, rtol=1e-4, atol=1e-5, msg=name
            )


def trained(**options):
    """As training would leave it: norms with channels of their own, embeddings that are no 0.02."""
    model = Tiny(**options)
    with torch.no_grad():
        model.embed.weight.mul_(50)
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def test_a_sample_fits_nearly_as_well_as_all_rows():
    native = trained()
    all_rows, some = (dyt.convert(copy.deepcopy(native), "dyt") for _ in range(2))
    batches = [batch(seed) for seed in range(20)]
    best = dyt.calibrate(all_rows, batches)
    sampled = dyt.calibrate(some, batches, rows=500)
    for whole, part in zip(best.fits, sampled.fits, strict=True):
        assert (whole.rows, part.rows) == (2560, 500)
        assert part.r2 == pytest.approx(whole.r2, abs=0.02)
    truth = native.eval()(batch(99))
    errors = [(m.eval()(batch(99)) - truth).square().mean().item() for m in (all_rows, some)]
    assert errors[1] < 1.2 * errors[0]


def test_a_few_huge_tokens_do_not_hide_the_scale_of_the_others():
    x = torch.randn(2560, 32, generator=torch.Generator().manual_seed(0))
    x[::128] *= 300
    model = dyt.convert(nn.Sequential(nn.LayerNorm(32)), "dyt")
    (fit,) = dyt.calibrate(model, [x]).fits
    assert fit.r2 > 0.9
    assert fit.spread > 5


class Padded(Tiny):
    def forward(self, input_ids, attention_mask=None):
        return super().forward(input_ids)


def padded():
    ids = batch()
    mask = torch.ones_like(ids)
    mask[:, 11:] = 0
    mask[3, 2:] = 0
    return ids, mask


@pytest.mark.parametrize("kind", [dict, UserDict])
@pytest.mark.parametrize("goal", ["start", "norm"])
def test_padding_is_left_out(kind, goal):
    """What stands there does not matter, even if it is infinite."""
    ids, mask = padded()
    ids[mask == 0] = 0
    found = []
    for value in (1.0, torch.inf):
        model = dyt.convert(Padded(), "dyt")
        model.embed.weight.data[0] = value
        ids[mask == 1] = ids[mask == 1].clamp(min=1)
        found.append(
            dyt.calibrate(model, [kind(input_ids=ids, attention_mask=mask)], goal=goal).fits
        )
    assert found[0] == found[1]
    assert {fit.rows for fit in found[0]} == {mask.sum().item()}


def test_padding_is_found_by_a_function_of_the_batch():
    ids, mask = padded()
    usual, given = (dyt.convert(Padded(), "dyt") for _ in range(2))
    expected = dyt.calibrate(usual, [{"input_ids": ids, "attention_mask": mask}])
    found = dyt.calibrate(
        given, [(mask, ids)], run=lambda model, pair: model(pair[1]), mask=lambda pair: pair[0]
    )
    assert found == expected


def test_padding_is_left_out_of_heads_and_of_flat_tokens():
    class Shapes(nn.Module):
        def __init__(self):
            super().__init__()
            self.flat, self.heads = nn.LayerNorm(6), nn.LayerNorm(3)

        def forward(self, x, attention_mask):
            self.flat(x.flatten(0, 1))
            self.heads(x.unflatten(-1, (2, 3)).transpose(1, 2))

    _, mask = padded()
    model = dyt.convert(Shapes(), "dyt")
    found = dyt.calibrate(model, [{"x": torch.randn(8, 16, 6), "attention_mask": mask}])
    rows = {fit.name: fit.rows for fit in found.fits}
    assert rows == {"flat": mask.sum().item(), "heads": 2 * mask.sum().item()}


@pytest.mark.parametrize(
    "given",
    [
        (batch(), torch.zeros(8)),
        [batch(), torch.zeros(8)],
        ({"ids": batch()}, torch.zeros(8)),
        UserDict(ids=batch()),
    ],
)
def test_inputs_with_labels_are_inputs(given):
    alone, paired = (dyt.convert(Tiny(), "dyt") for _ in range(2))
    assert dyt.calibrate(alone, [batch()]) == dyt.calibrate(paired, [given])


def test_a_pair_of_arguments_stays_one():
    class Two(Tiny):
        def forward(self, ids, attention_mask=None):
            masks.append(attention_mask)
            return super().forward(ids)

    masks = []
    _, mask = padded()
    for kind in (mask, mask.bool(), mask.float()):
        dyt.calibrate(dyt.convert(Two(), "dyt"), [(batch(), kind)])
        assert masks.pop() is kind


def test_labels_are_not_taken_for_a_mask():
    model = dyt.convert(Padded(), "dyt")
    how = (
        r"'attention_mask' of Padded would be .* pass run=lambda model, batch: model\(batch\[0\]\)"
    )
    with pytest.raises(ValueError, match=how):
        dyt.calibrate(model, [(batch(), batch())])
    dyt.calibrate(model, [(batch(), batch())], run=lambda model, batch: model(batch[0]))


def test_arguments_that_do_not_fit_come_with_the_way_out():
    model = dyt.convert(Tiny(), "dyt")
    with pytest.raises(ValueError, match=r"does not fit Tiny: .*model\(batch\[0\]\)"):
        dyt.calibrate(model, [(batch(), 1, 2)])


def broken(how):
    """Batches of which the third fails, after two that have changed the parameters."""
    good = [torch.randn(32, 8) for _ in range(2)]
    if how == "stops":

        def stream():
            yield from good
            raise KeyboardInterrupt

        return stream()
    bad = torch.randn(32, 8)
    bad[5, 3] = {"nan": torch.nan, "infinite": torch.inf}.get(how, 0.0)
    return [*good, bad[:, :7] if how == "narrow" else bad]


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("nan", ValueError, "batch 3 brings NaN or infinite values to layer '0'"),
        ("infinite", ValueError, "batch 3 brings NaN or infinite values to layer '0'"),
        ("narrow", ValueError, "batch 3 does not fit Sequential"),
        ("stops", KeyboardInterrupt, None),
    ],
)
@pytest.mark.parametrize("goal", ["start", "norm"])
def test_what_fails_leaves_the_model_as_it_was(how, error, message, goal):
    model = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.LayerNorm(8))
    dyt.convert(model, "dyt").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(error, match=message):
        dyt.calibrate(model, broken(how), goal=goal)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(module.training for module in model.modules())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())


def test_a_failure_within_the_model_leaves_the_embedding_as_it_was():
    model = dyt.convert(Tiny(), "dyt")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.blocks[1].mix.register_forward_hook(lambda m, args, out: out / 0)
    with pytest.raises(ValueError, match=r"the first batch brings .* to layer 'blocks\.2\.norm'"):
        dyt.calibrate(model, [batch()], goal="start")
    assert type(model.embed) is nn.Embedding
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_fit_that_its_dtype_cannot_hold_is_refused():
    model = dyt.convert(nn.Sequential(nn.LayerNorm(8)), "dyt").half()
    before = model[0].alpha.clone()
    with pytest.raises(ValueError, match=r"the alpha of '0' .* is not finite in torch\.float16"):
        dyt.calibrate(model, [torch.full((4, 8), 1e-7).half()])
    assert torch.equal(model[0].alpha, before)


class Experts(nn.Module):
    """Each batch takes the way of one expert."""

    def __init__(self, count=3):
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.LayerNorm(8)
        self.experts = nn.ModuleList(nn.LayerNorm(8) for _ in range(count))

    def forward(self, x, expert):
        return self.experts[expert](self.norm(x))


@pytest.mark.parametrize("goal", ["start", "norm"])
def test_an_expert_that_the_first_batch_misses_is_taken_from_a_later_one(goal):
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    model = dyt.convert(Experts(), "dyt")
    found = dyt.calibrate(model, [(x, 1), (x, 0), (x, 1), (x, 2)], goal=goal, rows=64)
    names = ["norm", "experts.1", "experts.0", "experts.2"]
    assert [fit.name for fit in found.fits] == names
    assert [fit.rows for fit in found.fits] == [64] * 4
    first, other = (model.experts[i].alpha.item() for i in (1, 0))
    assert first == pytest.approx(other, rel=1e-4)


def test_all_layers_that_no_batch_reaches_are_counted():
    model = dyt.convert(Experts(15), "dyt")
    with pytest.raises(
        ValueError, match=r"does not reach 13 of 16 layers with 2 batches"
    ) as caught:
        dyt.calibrate(model, [(torch.randn(8, 8), 0), (torch.randn(8, 8), 7)])
    assert "experts.1, experts.2, experts.3" in str(caught.value)
    assert "experts.11 and 3 more" in str(caught.value)
    assert model.norm.alpha.item() == 0.5


def test_a_shared_layer_is_fitted_to_all_its_calls():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(8)

        def forward(self, x):
            return self.norm(3 * self.norm(x))

    torch.manual_seed(0)
    model = dyt.convert(Shared(), "dyt")
    x = torch.randn(64, 8)
    (fit,) = dyt.calibrate(model, [x], rows=40).fits
    assert fit.rows == 80
    (fit,) = dyt.calibrate(model, [x]).fits
    assert fit.rows == 128
    assert fit.input_rms == pytest.approx(math.sqrt((1 + 3**2) / 2), rel=0.1)


def test_a_layer_with_an_activation_is_fitted():
    class NormAct(nn.LayerNorm):
        def __init__(self, width):
            super().__init__(width)
            self.act = nn.GELU()

        def forward(self, x):
            return self.act(super().forward(x))

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 32), NormAct(32))
    x = 5 * torch.randn(512, 32)
    truth = model(x)
    dyt.convert(model, "dyt")
    (fit,) = dyt.calibrate(model, [x]).fits
    assert fit.name == "1.norm"
    assert fit.r2 > 0.8
    assert (model(x) - truth).square().mean() < 0.2 * truth.square().mean()


def test_an_input_by_keyword_is_seen():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(8)

        def forward(self, x):
            return self.norm(x=x)

    model = dyt.convert(Named(), "dyt")
    assert dyt.calibrate(model, [torch.randn(64, 8)]).fits[0].rows == 64


def uneven():
    """Tokens whose scales differ by powers of ten: no element-wise layer returns one scale."""
    x = torch.randn(512, 16, generator=torch.Generator().manual_seed(0))
    return x * 10 ** torch.linspace(-3, 3, 512)[:, None]


def test_scales_that_differ_too_much_are_warned_of():
    model = nn.Sequential(nn.LayerNorm(16), nn.LayerNorm(16))
    dyt.convert(model, "dyt")
    with pytest.warns(
        dyt.CalibrationWarning, match=r"1 of 2 layers .*: 0 \(R2 0\.\d\d, spread"
    ) as seen:
        found = dyt.calibrate(model, [uneven()])
    assert len(seen) == 1
    assert seen[0].filename == __file__
    assert found.fits[0].r2 < 0.7
    assert found.fits[0].spread > 2
    assert "exclude=[...]" in str(found)
    assert str(seen[0].message) in str(found)


def test_scales_that_differ_little_are_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = dyt.calibrate(dyt.convert(Tiny(), "dyt"), [batch()])
    assert found.warning is None


def test_a_layer_without_an_r2_is_not_the_worst():
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4), nn.LayerNorm(4))
    nn.init.zeros_(model[0].weight)
    nn.init.zeros_(model[0].bias)

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = model

        def forward(self, x):
            return self.parts[1](self.parts[0](x)), self.parts[3](self.parts[2](x))

    found = dyt.calibrate(dyt.convert(Both(), "dyt"), [torch.randn(64, 4)])
    assert math.isnan(found.fits[0].r2)
    assert found.worst is found.fits[1]


def test_batches_are_read_no_further_than_needed():
    read = []

    def stream():
        while True:
            read.append(batch(len(read)))
            yield read[-1]

    dyt.calibrate(dyt.convert(Tiny(), "dyt"), stream(), rows=300)
    assert len(read) == 3


def test_the_embedding_is_scaled_for_the_random_numbers_of_the_fit():
    """A model that draws noise, as diffusion models do, draws the same in both passes."""

    class Noisy(Tiny):
        def forward(self, ids):
            drawn.append(torch.rand(()).item())
            return super().forward(ids)

    drawn = []
    dyt.calibrate(dyt.convert(Noisy(), "dyt"), [batch(), batch(1)], goal="start")
    assert drawn[0] == drawn[1] != drawn[2]
