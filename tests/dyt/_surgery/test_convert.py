"""The converter on models of every library the plugins use, and on awkward ones."""

import copy
import math
import pickle
import time

import pytest
import torch
from timm.layers import LayerNorm2d, LayerNormAct2d
from timm.models.convnext import ConvNeXt
from torch import nn
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

import dyt
from dyt.rivals import Method
from dyt.variants import VARIANTS

# A method needs a model that it is for: tests/dyt/test_rivals.py.
FOR_ANY = [name for name, build in VARIANTS.items() if not isinstance(build, Method)]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.fc, self.norm2 = nn.LayerNorm(4), nn.Linear(4, 4), nn.RMSNorm(4)
        self.batch = nn.BatchNorm1d(4)

    def forward(self, x):
        return self.batch(self.norm2(self.fc(self.norm1(x))))


class OwnRMSNorm(nn.Module):
    """As transformers and many others write it: no base class but nn.Module."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


class OnePlusWeight(OwnRMSNorm):
    def __init__(self, width):
        super().__init__(width)
        nn.init.zeros_(self.weight)

    def forward(self, x):
        return (1 + self.weight) * F.rms_norm(x, x.shape[-1:])


class KernelNorm(OwnRMSNorm):
    """Runs nowhere: what it computes cannot be observed."""

    def forward(self, x):
        raise RuntimeError("needs a GPU")


def test_every_nested_norm_is_swapped_and_nothing_else():
    model = nn.Sequential(Block(), nn.ModuleDict({"deep": nn.Sequential(Block())}))
    keys = set(model.state_dict())
    converted = dyt.convert(model)
    assert converted is model
    swapped = {name for name, m in model.named_modules() if isinstance(m, dyt.DynamicTanh)}
    assert swapped == {"0.norm1", "0.norm2", "1.deep.0.norm1", "1.deep.0.norm2"}
    assert set(model.state_dict()) - keys == {f"{name}.alpha" for name in swapped}
    assert not keys - set(model.state_dict())


def test_affine_mirrors_the_old_norm():
    model = dyt.convert(
        nn.Sequential(
            nn.LayerNorm(4),
            nn.LayerNorm(4, bias=False),
            nn.RMSNorm(4),
            nn.LayerNorm(4, elementwise_affine=False),
        )
    )
    affine = [(layer.weight is not None, layer.bias is not None) for layer in model]
    assert affine == [(True, True), (True, False), (True, False), (False, False)]


def test_a_norm_with_a_bias_alone_gives_a_layer_with_a_bias_alone():
    class BiasedNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.arange(4.0))

        def forward(self, x):
            return F.layer_norm(x, (4,)) + self.shift

    layer = dyt.convert(BiasedNorm())
    assert layer.weight is None
    assert layer.bias.tolist() == [0, 1, 2, 3]


def test_root_norm_is_returned_replaced_and_reverted():
    norm = nn.LayerNorm(4)
    layer = dyt.convert(norm, "derf")
    assert isinstance(layer, dyt.DynamicErf)
    assert dyt.revert(layer) is norm


def test_shared_norm_becomes_one_shared_layer():
    shared = nn.LayerNorm(4)
    model = nn.ModuleDict({"a": nn.Sequential(shared), "b": nn.Sequential(shared, shared)})
    dyt.convert(model)
    assert model["a"][0] is model["b"][0] is model["b"][1]
    assert isinstance(model["a"][0], dyt.DynamicTanh)
    dyt.revert(model)
    assert model["a"][0] is model["b"][0] is model["b"][1] is shared


def test_norms_that_share_a_parameter_still_do():
    model = nn.Sequential(nn.LayerNorm(4), nn.LayerNorm(4))
    model[1].weight = model[0].weight
    dyt.convert(model)
    assert model[0].weight is model[1].weight
    assert model[0].bias is not model[1].bias


def test_device_dtype_mode_and_requires_grad_are_kept():
    model = nn.Sequential(nn.LayerNorm(4)).to(torch.bfloat16).eval()
    model[0].weight.requires_grad_(False)
    layer = dyt.convert(model)[0]
    assert {p.dtype for p in layer.parameters()} == {torch.bfloat16}
    assert not layer.training
    assert not layer.weight.requires_grad
    assert layer.bias.requires_grad
    assert layer.alpha.requires_grad


def test_a_frozen_norm_gives_a_frozen_layer():
    model = nn.Sequential(nn.LayerNorm(4)).requires_grad_(False)
    assert not any(p.requires_grad for p in dyt.convert(model).parameters())


def test_a_norm_without_parameters_takes_the_dtype_around_it():
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4, elementwise_affine=False)).double()
    assert dyt.convert(model)[1].alpha.dtype == torch.float64


def test_fp32_weights_leave_bf16_activations_as_they_are():
    layer = dyt.convert(nn.Sequential(nn.LayerNorm(4)))
    assert layer(torch.randn(2, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_meta_model_stays_meta():
    with torch.device("meta"):
        model = nn.Sequential(Block(), nn.LayerNorm(4, elementwise_affine=False))
    dyt.convert(model)
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_a_7b_llama_on_the_meta_device_is_converted_in_seconds():
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig())
    started = time.perf_counter()
    dyt.convert(model, recipe="paper")
    assert time.perf_counter() - started < 4  # 0.6 s on an idle core
    layers = [m for m in model.modules() if isinstance(m, dyt.DynamicTanh)]
    assert len(layers) == 65
    assert all(p.is_meta for p in model.parameters())


@pytest.mark.parametrize("value", [0.0, 1e-5, 0.1])
def test_values_are_handed_on_the_tiny_ones_too(value):
    norm = nn.LayerNorm(4)
    nn.init.constant_(norm.weight, value)
    layer = dyt.convert(norm)
    torch.testing.assert_close(layer.weight, norm.weight)


def test_a_weight_stored_as_its_difference_from_one_becomes_the_factor():
    norm = OnePlusWeight(4)
    nn.init.constant_(norm.weight, 0.25)
    assert dyt.convert(norm).weight.tolist() == [1.25] * 4


def test_a_weight_of_any_shape_is_handed_on():
    class PerChannelNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.gamma = nn.Parameter(torch.arange(1.0, 7).reshape(6, 1, 1))

        def forward(self, x):
            return self.gamma * x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6)

    layer = dyt.convert(PerChannelNorm())
    assert layer.weight.tolist() == [1, 2, 3, 4, 5, 6]
    assert layer(torch.randn(2, 6, 5, 5)).shape == (2, 6, 5, 5)


def test_norms_of_a_models_own_making_are_known_by_what_they_do():
    layer = dyt.convert(nn.Sequential(OwnRMSNorm(4)))[0]
    assert isinstance(layer, dyt.DynamicTanh)
    assert layer.bias is None


def test_channels_first_norms_keep_their_layout():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), LayerNorm2d(4))
    dyt.convert(model)
    assert model(torch.randn(2, 3, 5, 5)).shape == (2, 4, 5, 5)
    assert not model[1].channels_last


def test_a_fused_activation_is_kept():
    norm = LayerNormAct2d(4, act_layer=nn.ReLU)
    x = torch.randn(2, 4, 5, 5)
    model = dyt.convert(nn.Sequential(norm))
    assert isinstance(model[0].norm, dyt.DynamicTanh)
    assert model[0].act is norm.act
    torch.testing.assert_close(model(x), torch.tanh(0.5 * x).relu())
    assert dyt.revert(model)[0] is norm


def test_convnext_trains_after_the_swap():
    model = dyt.convert(ConvNeXt(in_chans=1, num_classes=3, depths=(1,) * 4, dims=(8,) * 4))
    assert not [site for site in dyt.audit(model) if site.reason is None]
    model(torch.randn(2, 1, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_pytorchs_encoder_layer_does_not_bypass_the_swap(training):
    """In eval mode it would read its norms' weight and eps into a fused kernel."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 2).train(training)
    dyt.convert(model, "identity")
    x = torch.randn(2, 3, 8)
    with torch.no_grad():
        y = model(x, src_key_padding_mask=torch.zeros(2, 3, dtype=torch.bool))
    expected = x
    for block in model.layers:
        expected = expected + block._sa_block(expected, None, None)
        expected = expected + block._ff_block(expected)
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("to", FOR_ANY)
def test_pytorchs_encoder_computes_every_variant_alike_in_eval_mode(to):
    """The fused kernel is for LayerNorm: with gradients, which it has none of, it is not used."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model = dyt.convert(nn.TransformerEncoder(layer, 2), to).eval()
    x = torch.randn(2, 3, 8)
    expected = model(x).detach()
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected)
    again = dyt.convert(dyt.revert(model), "rmsnorm")
    assert "eps=1e-05" in repr(again.layers[0].norm1)
    assert dyt.audit(again)[0].eps == 1e-5


def encoder_layer(cls=nn.TransformerEncoderLayer):
    return cls(8, 2, 16, dropout=0.0, batch_first=True)


class OwnEncoderLayer(nn.TransformerEncoderLayer):
    """Inherits its forward, and so the fused kernel."""


def converted_whole(to):
    return dyt.convert(nn.TransformerEncoder(encoder_layer(), 2), to)


def converted_by_layer(to):
    model = nn.TransformerEncoder(encoder_layer(), 2)
    for layer in model.layers:
        dyt.convert(layer, to)
    return model


def built_of_a_converted_layer(to):
    return nn.TransformerEncoder(dyt.convert(encoder_layer(), to), 2)


def converted_in_one_place(to):
    return dyt.convert(nn.TransformerEncoder(encoder_layer(), 2), to, include="layers.0.norm2")


def converted_twice(to):
    return dyt.convert(converted_whole("rmsnorm"), to)


def converted_of_a_subclass(to):
    return dyt.convert(nn.TransformerEncoder(encoder_layer(OwnEncoderLayer), 2), to)


@pytest.mark.parametrize(
    "make",
    [
        converted_whole,
        converted_by_layer,
        built_of_a_converted_layer,
        converted_in_one_place,
        converted_twice,
        converted_of_a_subclass,
    ],
)
@pytest.mark.parametrize("to", ["dyt", "derf", "layernorm", "rmsnorm", "identity"])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
def test_an_encoder_computes_in_eval_mode_what_it_does_in_training(make, to):
    """However it was converted; with a mask, with frozen weights, with and without gradients."""
    model = make(to)
    x, padding = torch.randn(2, 3, 8), torch.tensor([[False, False, True], [False] * 3])
    for mask in (None, padding):
        kept = slice(None) if mask is None else ~mask
        expected = model.train()(x, src_key_padding_mask=mask)[kept].detach()
        for frozen in (False, True):
            model.eval().requires_grad_(not frozen)
            for gradients in (False, True):
                with torch.set_grad_enabled(gradients):
                    y = model(x, src_key_padding_mask=mask)[kept]
                torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("to", ["dyt", "rmsnorm", "identity"])
def test_a_layer_put_into_an_encoder_by_hand_is_called(to):
    model = encoder_layer()
    model.norm1, model.norm2 = dyt.convert(model.norm1, to), dyt.convert(model.norm2, to)
    x = torch.randn(2, 3, 8)
    expected = model(x).detach()
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), expected)


def test_an_encoder_is_left_by_revert_as_it_was():
    model = converted_whole("dyt")
    twins = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    for each in (model, *twins):
        dyt.revert(each)
        assert each.use_nested_tensor
        for layer in each.layers:
            assert not layer._forward_hooks | layer._forward_pre_hooks
            assert layer.norm1.eps == layer.norm2.eps == 1e-5


@pytest.mark.parametrize("to", FOR_ANY)
def test_every_variant_runs_forward_and_backward_in_both_layouts(to):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), LayerNorm2d(4), nn.Flatten(2), nn.LayerNorm(25))
    dyt.convert(model, to)
    y = model(torch.randn(2, 3, 5, 5))
    assert y.shape == (2, 4, 25)
    y.sum().backward()
    assert model[0].weight.grad.isfinite().all()


def test_the_family_has_a_shift_but_dyt():
    for to in dyt.FAMILY:
        assert (dyt.convert(nn.LayerNorm(4), to).shift is None) == (to == "tanh")


def test_norms_turn_into_each_other():
    x = torch.randn(2, 6, 5, 5)
    norm = LayerNorm2d(6, eps=1e-3)
    rms = dyt.convert(norm, "rmsnorm")
    assert rms.eps == norm.eps
    expected = F.rms_norm(x.movedim(1, -1), (6,), eps=1e-3).movedim(-1, 1)
    torch.testing.assert_close(rms(x), expected)
    back = dyt.convert(rms, "layernorm")
    torch.testing.assert_close(back(x), LayerNorm2d(6, eps=1e-3)(x))


def test_a_class_of_ones_own_is_built_as_dynamic_tanh_is():
    class Mine(dyt.DynamicTanh):
        pass

    assert isinstance(dyt.convert(nn.LayerNorm(4), Mine), Mine)


def test_include_and_exclude_choose_by_name():
    model = nn.ModuleDict({"encoder": Block(), "head": Block()})
    dyt.convert(model, include=["encoder.*"], exclude=["*norm2"])
    swapped = [name for name, m in model.named_modules() if isinstance(m, dyt.DynamicTanh)]
    assert swapped == ["encoder.norm1"]
    dyt.convert(model, include="head.norm1")  # one pattern need not be in a list
    assert isinstance(model["head"].norm1, dyt.DynamicTanh)


def test_alpha_for_all_or_by_site():
    model = dyt.convert(nn.Sequential(nn.LayerNorm(4), nn.LayerNorm(8)), alpha_init_value=0.2)
    assert [layer.alpha.item() for layer in model] == pytest.approx([0.2, 0.2])
    by_width = dyt.convert(
        nn.Sequential(nn.LayerNorm(4), nn.LayerNorm(8)),
        alpha_init_value=lambda site: 1 / site.normalized_shape[-1],
    )
    assert [layer.alpha.item() for layer in by_width] == [0.25, 0.125]


def test_convert_ln_to_dyt_takes_layer_norms_only():
    model = dyt.convert_ln_to_dyt(Block())
    assert isinstance(model.norm1, dyt.DynamicTanh)
    assert isinstance(model.norm2, nn.RMSNorm)


def test_strict_refuses_to_leave_an_unknown_norm():
    def model():
        return nn.Sequential(nn.LayerNorm(4), KernelNorm(4))

    with pytest.raises(ValueError, match=r"norms would be left behind: 1 \(KernelNorm\): what it"):
        dyt.convert(model())
    layers = dyt.Recipe("layers", lambda site: 1, "this test", takes=lambda s: s.kind == "layer")
    for leave in ({"exclude": "1"}, {"include": "0"}, {"strict": False}, {"recipe": layers}):
        left = dyt.convert(model(), **leave)
        assert isinstance(left[0], dyt.DynamicTanh)
        assert isinstance(left[1], KernelNorm)


class ScaleNorm(OwnRMSNorm):
    """One gain: the size of its parameter is not the width of its input."""

    def __init__(self):
        super().__init__(1)

    def forward(self, x):
        return self.weight * x / x.norm(dim=-1, keepdim=True)


class HeadNorm(OwnRMSNorm):
    """For queries and keys of shape [batch, heads, positions, width]."""

    def __init__(self):
        super().__init__((2, 1, 4))


class ResidualNorm(OwnRMSNorm):
    def forward(self, x, residual=None):
        if residual is None:
            return super().forward(x)
        return super().forward(x + residual), x + residual


@pytest.mark.parametrize(
    ("norm", "reason"),
    [
        (OwnRMSNorm(1), "one element"),
        (HeadNorm(), "repeated along an axis"),
        (ResidualNorm(4), "a tuple if it is given residual"),
    ],
)
def test_strict_refuses_to_leave_a_norm_that_no_layer_computes(norm, reason):
    with pytest.raises(ValueError, match=rf"left behind: 1 \({type(norm).__name__}\): .*{reason}"):
        dyt.convert(nn.Sequential(nn.LayerNorm(4), norm))
    left = dyt.convert(nn.Sequential(nn.LayerNorm(4), norm), strict=False)
    assert left[1] is norm


@pytest.mark.parametrize(
    ("norm", "shapes"),
    [
        (OwnRMSNorm(4), [(2, 4), (2, 3, 4)]),
        (OwnRMSNorm((1, 1, 4)), [(2, 3, 4), (2, 5, 4)]),
        (OwnRMSNorm((2, 4)), [(2, 4), (3, 2, 4), (3, 5, 2, 4)]),
        (OwnRMSNorm(1), [(2, 4), (2, 5)]),
        (nn.LayerNorm(4, elementwise_affine=False), [(2, 4), (2, 3, 4)]),
        (ScaleNorm(), [(2, 4), (2, 5)]),
        (HeadNorm(), [(3, 2, 5, 4), (3, 2, 6, 4)]),
        (ResidualNorm(4), [(2, 4), (2, 3, 4)]),
    ],
)
@pytest.mark.parametrize("to", ["dyt", "derf", "rmsnorm", "identity"])
def test_whatever_ran_before_a_swap_runs_after_it(norm, shapes, to):
    """In both modes; a norm that no layer computes is left as it is."""
    model = nn.Sequential(nn.LayerNorm(4, elementwise_affine=False), copy.deepcopy(norm))
    dyt.convert(model, to, strict=False)
    for training in (True, False):
        for shape in shapes:
            x = torch.randn(shape)
            assert model.train(training)[1](x).shape == norm(x).shape


def test_revert_brings_back_the_very_modules_and_values():
    model = nn.Sequential(Block(), nn.LayerNorm(4, elementwise_affine=False)).double()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modules = list(model.modules())
    dyt.convert(model)
    model[0].norm1.weight.data.fill_(7)
    assert dyt.revert(model) is model
    assert list(model.modules()) == modules
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[k], v) for k, v in before.items())


def test_revert_follows_the_model_to_its_dtype_and_mode():
    model = dyt.convert(nn.Sequential(nn.LayerNorm(4)))
    dyt.revert(model.double().eval())
    assert model[0].weight.dtype == torch.float64
    assert not model[0].training


def test_a_converted_model_can_be_copied_and_pickled_and_its_copy_reverted():
    model = dyt.convert(Block())
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.state_dict().keys() == model.state_dict().keys()
        dyt.revert(twin)
        assert isinstance(twin.norm1, nn.LayerNorm)
        assert isinstance(model.norm1, dyt.DynamicTanh)


def test_conversions_are_undone_one_by_one():
    norm = nn.LayerNorm(4)
    model = dyt.convert(dyt.convert(nn.Sequential(norm), "rmsnorm"), "dyt")
    assert isinstance(dyt.revert(model)[0], nn.RMSNorm)
    assert dyt.revert(model)[0] is norm


def test_a_converted_model_compiles_without_a_break():
    model = dyt.convert(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)))
    x = torch.randn(2, 4)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x))


def test_hooks_leave_with_the_norm_and_come_back_with_it():
    model, calls = nn.Sequential(nn.LayerNorm(4)), []
    model[0].register_forward_hook(lambda *_: calls.append("norm"))
    dyt.convert(model)(torch.randn(2, 4))
    assert calls == []
    dyt.revert(model)(torch.randn(2, 4))
    assert calls == ["norm"]


def test_a_failed_conversion_leaves_the_model_as_it_was():
    class Picky(dyt.DynamicTanh):
        def __init__(self, normalized_shape, **options):
            if normalized_shape == (8,):
                raise RuntimeError("not eight")
            super().__init__(normalized_shape, **options)

    model = nn.Sequential(nn.LayerNorm(4), nn.LayerNorm(8))
    modules, keys = list(model.modules()), list(model.state_dict())
    with pytest.raises(ValueError, match=r"1 \(LayerNorm\): RuntimeError: not eight"):
        dyt.convert(model, Picky)
    with pytest.raises(ValueError, match="must be finite"):
        dyt.convert(model, alpha_init_value=lambda s: math.nan if s.features == 8 else 1.0)
    assert list(model.modules()) == modules
    assert list(model.state_dict()) == keys
    dyt.convert(model, Picky, strict=False)
    assert [type(m).__name__ for m in model] == ["Picky", "LayerNorm"]


def adapted():
    model = Block()
    model.fc.lora_A = nn.Linear(4, 1)
    return model


def quantized():
    model = Block()
    model.fc.weight = nn.Parameter(torch.zeros(4, 4, dtype=torch.int8), requires_grad=False)
    return model


def compiled_in_place():
    model = Block()
    model.fc.compile()
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.compile(Block()), "is under torch.compile: convert the model that was"),
        (compiled_in_place, "module 'fc' is under torch.compile"),
        (lambda: torch.jit.trace(nn.LayerNorm(4), torch.ones(1, 4)), "TorchScript"),
        (adapted, "module 'fc' has LoRA adapters"),
        (quantized, "module 'fc' is quantized"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*jit.trace.*")
def test_wrapped_and_packed_models_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        dyt.convert(make())


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (nn.LayerNorm(4), {"to": "dty"}, "to must be one of 'dyt', 'derf', 'tanh'"),
        (Block(), {"exclude": ["nrom*"]}, r"pattern 'nrom\*' matches no norm; the model has norm1"),
        (Block(), {"include": ["batch"]}, "can be replaced: batch: BatchNorm1d averages"),
        (Block(), {"exclude": ["norm*"]}, "include and exclude leave no norm"),
        (nn.Linear(4, 4), {}, "Linear has no norm that can be replaced"),
        (nn.BatchNorm1d(4), {}, "no norm that can be replaced; it has itself: BatchNorm1d"),
        (dyt.convert(Block()), {}, "it is converted already: dyt.revert undoes it"),
        (Block(), {"to": "identity", "alpha_init_value": 0.5}, "'identity' has no alpha"),
        (Block(), {"recipe": "paper", "alpha_init_value": 0.5}, "both choose alpha"),
        (Block(), {"recipe": "papr"}, "recipe must be one of 'swap-only'"),
    ],
)
def test_mistakes_are_named(model, options, message):
    with pytest.raises(ValueError, match=message):
        dyt.convert(model, **options)


def test_there_must_be_something_to_revert_and_values_to_come_back_with():
    with pytest.raises(ValueError, match=r"holds no layer that dyt\.convert put in"):
        dyt.revert(Block())
    with torch.device("meta"):
        model = nn.Sequential(nn.LayerNorm(4))
    dyt.convert(model).to_empty(device="cpu")
    with pytest.raises(ValueError, match="swapped on the meta device and has no values"):
        dyt.revert(model)
