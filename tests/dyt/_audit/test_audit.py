"""What the audit finds in models of every make, and that it leaves them alone."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import dyt


def only(model):
    (site,) = dyt.audit(model)
    return site


class OwnNorm(nn.Module):
    """As libraries write it: no base class but nn.Module; ``formula`` is filled in below."""

    def __init__(self, *shape):
        super().__init__()
        if shape:
            self.weight = nn.Parameter(torch.ones(shape))


class OwnRMSNorm(OwnNorm):
    def forward(self, x):
        return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


class OnePlusWeight(OwnNorm):
    def forward(self, x):
        return (1 + self.weight) * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


class RmsCalledLayerNorm(OwnNorm):
    def forward(self, x):
        return self.weight * F.rms_norm(x, x.shape[-1:])


class Nameless(OwnNorm):
    """A norm that no name gives away, channels first, with parameters of other names."""

    def __init__(self, width):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width, 1, 1))
        self.beta = nn.Parameter(torch.zeros(width, 1, 1))

    def forward(self, x):
        centred = x - x.mean(1, keepdim=True)
        return self.gamma * centred / centred.std(1, keepdim=True) + self.beta


class Unweighted(OwnNorm):
    eps = 1e-6

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)


class ReciprocalRMSNorm(Unweighted):
    """Called a norm, and returns the statistic."""

    def forward(self, x):
        return torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)


class UnitLengthNorm(OwnNorm):
    def forward(self, x):
        return F.normalize(x, dim=-1) * self.weight


class Gated(OwnNorm):
    def forward(self, x, gate=None):
        if gate is not None:
            x = x * F.silu(gate)
        return self.weight * F.rms_norm(x, x.shape[-1:])


class PerHeadNorm(OwnNorm):
    """A weight of its own for each head, each head normalized alone."""

    def forward(self, x):
        return self.weight * F.layer_norm(x, x.shape[-1:])


class GroupedNorm(OwnNorm):
    """Over groups of channels and all of space; by class neither batch nor group norm."""

    def forward(self, x):
        groups = x.unflatten(1, (2, -1))
        rms = groups.square().mean((2, 3, 4), keepdim=True).sqrt()
        return (groups / rms).flatten(1, 2) * self.weight.view(-1, 1, 1)


class FrozenBatchNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.register_buffer("weight", torch.ones(width))
        self.register_buffer("running_mean", torch.zeros(width))


def rms(x):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


class ScaleNorm(OwnNorm):
    """One number for all features, so that its parameter has no width."""

    def forward(self, x):
        return self.weight * x / x.norm(dim=-1, keepdim=True)


def of_one_number(norm):
    norm.weight = nn.Parameter(torch.ones(()))
    return norm


class ResidualNorm(OwnNorm):
    def forward(self, x, residual=None):
        if residual is None:
            return self.weight * rms(x)
        return self.weight * rms(x + residual), x + residual


class PrenormNorm(OwnNorm):
    def forward(self, x, prenorm=False):
        return (self.weight * rms(x), x) if prenorm else self.weight * rms(x)


class MaskedNorm(OwnNorm):
    """Takes a value for each position, not for each element."""

    def forward(self, x, mask=None):
        y = self.weight * rms(x)
        return y if mask is None else y * mask.unsqueeze(-1)


class KeywordNorm(OwnNorm):
    def forward(self, x, *, scale):
        return self.weight * rms(x) * scale


class PassingNorm(OwnNorm):
    """Its signature shows no input."""

    def forward(self, *inputs, **options):
        return self.weight * rms(*inputs)


class PairNorm(OwnNorm):
    def forward(self, x):
        return self.weight * rms(x), x


class NoisyNorm(OwnNorm):
    def forward(self, x):
        return self.weight * rms(x) + (torch.randn_like(x) if self.training else 0)


class TrainedByKernelNorm(OwnNorm):
    def forward(self, x):
        if self.training:
            raise RuntimeError("needs a GPU")
        return self.weight * rms(x)


class HalfNorm(OwnNorm):
    def forward(self, x):
        return (self.weight * rms(x)).half()


class SlicedNorm(OwnNorm):
    """Of a network that can be made narrower."""

    def forward(self, x):
        return self.weight.repeat(2)[: x.shape[-1]] * rms(x)


class TwelveWideNorm(OwnNorm):
    def forward(self, x):
        return x / x.norm(dim=-1, keepdim=True) * 12**0.5


class BufferedNorm(nn.Module):
    def __init__(self, width, persistent):
        super().__init__()
        self.register_buffer("weight", torch.ones(width), persistent=persistent)

    def forward(self, x):
        return self.weight * rms(x)


class ComplexNorm(OwnNorm):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width, dtype=torch.complex64))

    def forward(self, x):
        return self.weight * rms(x)


class TwoGains(OwnNorm):
    """By name no norm."""

    def __init__(self, width):
        super().__init__(width)
        self.second = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return self.weight * rms(x) * self.second


class GainOfPositions(OwnNorm):
    def forward(self, x):
        return self.weight[:, None] * rms(x)


@pytest.mark.parametrize(
    ("module", "kind", "shape", "offset"),
    [
        (nn.LayerNorm(6), "layer", (6,), 0),
        (nn.LayerNorm((4, 6), elementwise_affine=False), "layer", (4, 6), 0),
        (nn.RMSNorm(6), "rms", (6,), 0),
        (OwnRMSNorm(6), "rms", (6,), 0),
        (OnePlusWeight(6), "rms", (6,), 1),
        (RmsCalledLayerNorm(6), "rms", (6,), 0),
        (Unweighted(), "rms", (), 0),
        (PerHeadNorm(3, 6), "layer", (3, 6), 0),
        (PerHeadNorm(1, 3, 6), "layer", (3, 6), 0),
        (PerHeadNorm(1, 1, 6), "layer", (6,), 0),
        (PassingNorm(6), "rms", (6,), 0),
        (BufferedNorm(6, persistent=False), "rms", (6,), 0),
    ],
)
def test_kind_shape_and_meaning_of_the_weight_are_observed(module, kind, shape, offset):
    site = only(module)
    assert site.replaceable
    assert (site.kind, site.normalized_shape, site.weight_offset) == (kind, shape, offset)
    assert site.channels_last
    assert site.affine == any(True for _ in module.parameters())


def test_layout_and_parameter_names_are_observed():
    site = only(Nameless(6))
    assert (site.kind, site.channels_last, site.axes) == ("layer", False, (1,))
    assert (site.weight_name, site.bias_name) == ("gamma", "beta")
    assert site.gamma.shape == (6,)


def test_a_weight_of_channels_in_time_and_space_has_their_width():
    """Of an input with fewer axes it makes one with more, whatever its width."""

    class VideoNorm(OwnNorm):
        def forward(self, x):
            return F.normalize(x, dim=1) * x.shape[1] ** 0.5 * self.weight

    site = only(VideoNorm(6, 1, 1, 1))
    assert (site.kind, site.normalized_shape, site.channels_last) == ("rms", (6,), False)
    assert site.replaceable


def test_heads_normalized_alone_are_told_from_heads_normalized_together():
    class TogetherNorm(OwnNorm):
        def forward(self, x):
            return self.weight * F.layer_norm(x, x.shape[-2:])

    assert only(PerHeadNorm(8, 256)).axes == (-1,)
    assert only(TogetherNorm(8, 256)).axes == (-2, -1)


def test_gamma_is_the_factor_the_norm_applies():
    norm = OnePlusWeight(3)
    nn.init.constant_(norm.weight, 0.25)
    assert only(norm).gamma.tolist() == [1.25] * 3


@pytest.mark.parametrize(
    ("module", "kind", "reason"),
    [
        (nn.BatchNorm1d(4), "batch", "averages over more than the features"),
        (FrozenBatchNorm(4), "batch", "averages over more than the features"),
        (nn.GroupNorm(2, 4), "group", "averages over more"),
        (nn.InstanceNorm2d(4), "instance", "averages over more"),
        (Gated(4), "gated", "its forward also takes gate"),
        (ReciprocalRMSNorm(), "other", r"returns shape \(.*1\)"),
        (UnitLengthNorm(4), "other", "unit length"),
        (GroupedNorm(512), "other", "computes neither a LayerNorm nor an RMSNorm of one axis"),
        (ScaleNorm(1), "other", "unit length"),
        (of_one_number(ScaleNorm(1)), "other", "unit length"),
        (of_one_number(OwnRMSNorm(1)), "unknown", "one element"),
        (OwnRMSNorm(1), "unknown", "one element: a layer's have one for each feature"),
        (ResidualNorm(6), "unknown", "returns a tuple if it is given residual"),
        (PrenormNorm(6), "unknown", "returns a tuple if it is given prenorm"),
        (MaskedNorm(6), "gated", "its forward also takes mask"),
        (KeywordNorm(6), "gated", "its forward takes x, scale, not one input"),
        (PairNorm(6), "unknown", "could not be observed: returns a tuple"),
        (PerHeadNorm(3, 1, 6), "unknown", r"of shape \(3, 1, 6\), are repeated along an axis"),
        (PerHeadNorm(1, 3, 1, 6), "unknown", r"of shape \(3, 1, 6\), are repeated along an axis"),
        (NoisyNorm(6), "unknown", "something else in training"),
        (TrainedByKernelNorm(6), "unknown", "in training could not .*: RuntimeError: needs a GPU"),
        (HalfNorm(6), "unknown", "returns float16 for float32"),
        (SlicedNorm(16), "unknown", "inputs of other widths than its parameters' 16"),
        (TwelveWideNorm(), "unknown", "one width only, and does not say which"),
        (BufferedNorm(6, persistent=True), "unknown", "depends on the buffer weight"),
        (ComplexNorm(6), "unknown", "its parameters are complex"),
        (TwoGains(6), "other", "computes neither"),
        (GainOfPositions(6), "other", "computes neither"),
    ],
)
def test_what_cannot_be_replaced_says_why(module, kind, reason):
    site = only(nn.Sequential(module))
    assert site.kind == kind
    assert not site.replaceable
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(site.reason)


def test_what_is_no_norm_is_not_listed():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

        def forward(self, x):
            return x * self.weight

    class NormedEmbedding(nn.Embedding):
        def forward(self, ids):
            return F.layer_norm(super().forward(ids), (4,))

    class NormContainer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x):
            return self.inner(x)

    class NormWithoutForward(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

        def encode(self, x):
            return self.weight * x

    model = nn.Sequential(nn.Linear(4, 4), nn.PReLU(4), Scale(), NormContainer(), nn.Softmax(-1))
    model.append(NormWithoutForward())
    assert dyt.audit(model) == []
    assert [s.kind for s in dyt.audit(nn.Sequential(NormedEmbedding(3, 4)))] == ["functional"]


def test_a_functional_norm_is_a_site_that_no_swap_reaches():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer_norm = nn.LayerNorm(4)
            self.proj = nn.Linear(4, 4)

        def forward(self, x):
            return self.layer_norm(self.proj(self._inner(x)))

        def _inner(self, x):
            return F.layer_norm(x, (4,))

    functional, module = dyt.audit(nn.Sequential(Block()))
    assert (functional.name, functional.kind) == ("0", "functional")
    assert functional.reason == "Block calls F.layer_norm in its forward"
    assert module.replaceable


class Normalizes(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4))
        self.inner = nn.Linear(4, 4)


class NormalizesInput(Normalizes):
    def forward(self, x):
        return F.normalize(self.inner(x), dim=-1)


class GroupsInput(Normalizes):
    def forward(self, x):
        return torch.group_norm(F.instance_norm(F.batch_norm(x, None, None)), 2)


class NormalizesWeight(Normalizes):
    def forward(self, x):
        return F.linear(x, F.normalize(self.weight.flatten(1), dim=-1))


@pytest.mark.parametrize(
    ("module", "called"),
    [
        (NormalizesInput, ["F.normalize"]),
        (GroupsInput, ["torch.group_norm", "F.instance_norm", "F.batch_norm"]),
        (NormalizesWeight, []),
    ],
)
def test_every_function_that_normalizes_an_input_is_named(module, called):
    reasons = [site.reason for site in dyt.audit(module())]
    assert (
        reasons == [f"{module.__name__} calls {' and '.join(called)} in its forward"][: len(called)]
    )


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(4)


class ReadsWeight(Reader):
    def forward(self, x):
        return F.linear(self.norm(x), torch.eye(4) * self.norm.weight)


class ReadsEps(Reader):
    def forward(self, x):
        return self._fused(x, self.norm.eps)

    def _fused(self, x, eps):
        return self.norm(x) if self.training else x / eps


class ChecksClass(Reader):
    def forward(self, x):
        assert isinstance(self.norm, nn.LayerNorm)
        return self.norm(x)


class ReadsHarmlessly(Reader):
    def forward(self, x):
        if isinstance(self.norm, nn.Identity):
            return x * self.norm.gain
        return self.norm(x.to(self.norm.weight.dtype))


class ReadsFromAbove(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([ReadsHarmlessly()])

    def forward(self, x):
        return self.layers[0](x) * self.layers[0].norm.bias


@pytest.mark.parametrize(
    ("parent", "reason"),
    [
        (ReadsWeight, "ReadsWeight reads its weight"),
        (ReadsEps, "ReadsEps reads its eps"),
        (ChecksClass, "ChecksClass checks whether it is a LayerNorm"),
        (ReadsFromAbove, "ReadsFromAbove reads its bias"),
        (ReadsHarmlessly, None),
    ],
)
def test_a_norm_read_by_a_parent_stays(parent, reason):
    assert only(parent()).reason == reason


class OptionNorm(OwnNorm):
    """Whatever its option does, it is nothing that a trial with tensors shows."""

    def forward(self, x, style=None):
        if style is not None and not isinstance(style, str):
            raise TypeError("style must be a name")
        return self.weight * rms(x)


@pytest.mark.parametrize(
    ("norm", "call", "reason"),
    [
        (OptionNorm(4), lambda self, x: self.norm(x), None),
        (OptionNorm(4), lambda self, x: self.norm(x, style="bold"), "Caller calls it with style"),
        (OptionNorm(4), lambda self, x: self.norm(x, "bold"), "Caller calls it with 2 inputs"),
        (OwnRMSNorm(4), lambda self, x: self.norm(x, "bold"), None),  # for norms that take it
        (nn.LayerNorm(4), lambda self, x: self.norm(input=x), "Caller calls it with input"),
        (nn.RMSNorm(4), lambda self, x: self.norm(x=x), None),
    ],
)
def test_a_norm_called_as_no_layer_can_be_stays(norm, call, reason):
    class Caller(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = norm

        forward = call

    found = only(Caller()).reason
    assert found == (reason and f"{reason}; a layer takes x")


def test_activation_of_a_fused_norm_is_told_apart_from_other_children():
    class NormAct(nn.LayerNorm):
        def __init__(self):
            super().__init__(4)
            self.drop, self.act = nn.Identity(), nn.GELU()

        def forward(self, x):
            return self.act(self.drop(super().forward(x)))

    class NormActBefore(NormAct):
        def forward(self, x):
            return nn.LayerNorm.forward(self, self.act(x))

    assert only(NormAct()).activation == ("drop", "act")
    assert only(NormActBefore()).reason == "does more than normalize: it has submodules"


def test_a_norm_that_mixes_features_too_has_a_reason():
    class AdaptiveLayerNorm(nn.LayerNorm):
        def __init__(self):
            super().__init__(4)
            self.scale = nn.Linear(4, 4)

        def forward(self, x):
            return self.scale(x) * super().forward(x)

    assert only(AdaptiveLayerNorm()).reason == "does more than normalize: it has submodules"


def test_buffers_of_the_model_stay_as_they_are():
    class CountingNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x):
            self.calls += 1
            return self.weight * F.rms_norm(x, x.shape[-1:])

    norm = CountingNorm()
    assert only(norm).kind == "rms"
    assert norm.calls.item() == 0


def test_a_norm_within_a_norm_with_more_to_it_is_the_site():
    class UnitOffsetLayerNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.gamma = nn.Parameter(torch.zeros(4))
            self.ln = nn.LayerNorm(4, elementwise_affine=False)

        def forward(self, x):
            return self.ln(x) * (self.gamma + 1)

    site = only(UnitOffsetLayerNorm())
    assert (site.name, site.replaceable) == ("ln", True)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("model.layers.0.input_layernorm", "attention"),
        ("model.layers.0.post_attention_layernorm", "feed-forward"),
        ("model.norm", "final"),
        ("layers.0.self_attn.q_norm", "query/key"),
        ("blocks.3.norm1", "attention"),
        ("blocks.3.norm2", "feed-forward"),
        ("blocks.3.attn.norm_k", "query/key"),
        ("encoder.layer.1.attention.output.LayerNorm", "attention"),
        ("encoder.layer.1.output.LayerNorm", "feed-forward"),
        ("embeddings.LayerNorm", "embedding"),
        ("h.0.ln_1", "attention"),
        ("ln_f", "final"),
        ("feature_projection.layer_norm", "feature extractor"),
        ("encoder.layers.0.final_layer_norm", "feed-forward"),
        ("encoder.layers.0.layer_norm", "unknown"),
        ("stages.0.blocks.1.norm", "unknown"),
    ],
)
def test_roles_are_told_by_name(name, role):
    model = nn.Module()
    at = model
    *path, last = name.split(".")
    for part in path:
        at.add_module(part, nn.Module())
        at = at.get_submodule(part)
    at.add_module(last, nn.LayerNorm(4))
    assert only(model).role == role


def test_the_audit_neither_runs_nor_changes_the_model():
    class Counting(OwnRMSNorm):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    model = nn.Sequential(Counting(4), nn.Dropout(0.5))
    model[0].register_forward_hook(lambda *_: pytest.fail("the model's hooks ran"))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    assert only(model).kind == "rms"
    assert model[0].calls == 0
    assert model.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_normalized_shape_of_any_type_is_read():
    class IntShapeNorm(OwnRMSNorm):
        def __init__(self, width):
            super().__init__(width)
            self.normalized_shape = width

    assert only(IntShapeNorm(6)).normalized_shape == (6,)


def test_meta_and_default_device_do_not_matter():
    with torch.device("meta"):
        model = nn.Sequential(OnePlusWeight(8), nn.LayerNorm(8))
        sites = dyt.audit(model)
    assert [(s.kind, s.weight_offset) for s in sites] == [("rms", 1.0), ("layer", 0.0)]


def test_a_class_that_cannot_be_run_is_unknown_until_it_is_registered():
    class KernelNorm(OwnNorm):
        def forward(self, x):
            raise RuntimeError("needs a GPU")

    assert only(KernelNorm(4)).kind == "unknown"
    dyt.register_norm(KernelNorm, "rms")
    site = only(KernelNorm(4))
    assert (site.kind, site.normalized_shape, site.replaceable) == ("rms", (4,), True)
    with pytest.raises(ValueError, match="KernelNorm is registered already"):
        dyt.register_norm(KernelNorm, "layer")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("LayerNorm", "layer"), "cls must be a class derived from torch.nn.Module"),
        ((OwnNorm, "lyer"), "kind must be one of 'layer', 'rms'"),
        ((OwnNorm, "gated"), "give the reason"),
    ],
)
def test_registering_nonsense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        dyt.register_norm(*arguments)
