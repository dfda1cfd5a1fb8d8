"""The converter on models of every library the plugins use, and on awkward ones."""

import pytest
import torch
from timm.layers import LayerNorm2d
from timm.models.convnext import ConvNeXt
from torch import nn

import dyt


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


def test_root_norm_is_returned_replaced():
    assert isinstance(dyt.convert(nn.LayerNorm(4), "derf"), dyt.DynamicErf)


def test_shared_norm_becomes_one_shared_layer():
    shared = nn.LayerNorm(4)
    model = nn.ModuleDict({"a": nn.Sequential(shared), "b": nn.Sequential(shared, shared)})
    dyt.convert(model)
    assert model["a"][0] is model["b"][0] is model["b"][1]
    assert isinstance(model["a"][0], dyt.DynamicTanh)


def test_device_dtype_mode_and_requires_grad_are_kept():
    model = nn.Sequential(nn.LayerNorm(4)).to(torch.bfloat16).eval()
    model[0].weight.requires_grad_(False)
    layer = dyt.convert(model)[0]
    assert {p.dtype for p in layer.parameters()} == {torch.bfloat16}
    assert not layer.training
    assert not layer.weight.requires_grad
    assert layer.bias.requires_grad


def test_meta_model_stays_meta():
    with torch.device("meta"):
        model = nn.Sequential(Block())
    dyt.convert(model)
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_pytorch_norms_hand_on_their_values():
    norm = nn.LayerNorm(4)
    nn.init.constant_(norm.weight, 0.1)
    layer = dyt.convert(norm)
    torch.testing.assert_close(layer.weight, norm.weight)


def test_norms_of_a_models_own_making_are_known_by_structure():
    model = nn.Sequential(OwnRMSNorm(4))
    layer = dyt.convert(model)[0]
    assert isinstance(layer, dyt.DynamicTanh)
    assert layer.bias is None


def test_channels_first_norms_keep_their_layout():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), LayerNorm2d(4))
    dyt.convert(model)
    assert model(torch.randn(2, 3, 5, 5)).shape == (2, 4, 5, 5)
    assert not model[1].channels_last


def test_convnext_trains_after_the_swap():
    model = dyt.convert(ConvNeXt(in_chans=1, num_classes=3, depths=(1,) * 4, dims=(8,) * 4))
    assert not [site for site in dyt.audit(model) if site.reason is None]
    model(torch.randn(2, 1, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_include_and_exclude_choose_by_name():
    model = nn.ModuleDict({"encoder": Block(), "head": Block()})
    dyt.convert(model, include=["encoder.*"], exclude=["*norm2"])
    swapped = [name for name, m in model.named_modules() if isinstance(m, dyt.DynamicTanh)]
    assert swapped == ["encoder.norm1"]


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


def test_audit_says_why_a_norm_stays():
    sites = {site.name: site for site in dyt.audit(Block())}
    assert sites["norm1"].reason is None
    assert sites["norm1"].normalized_shape == (4,)
    assert "averages over more" in sites["batch"].reason


def test_audit_reports_a_norm_with_fused_activation():
    class FusedLayerNorm(nn.LayerNorm):
        def __init__(self, width):
            super().__init__(width)
            self.act = nn.GELU()

    (site,) = dyt.audit(nn.Sequential(FusedLayerNorm(4)))
    assert "submodules" in site.reason


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="to must be one of 'dyt', 'derf'"):
        dyt.convert(nn.LayerNorm(4), "dty")
    with pytest.raises(ValueError, match=r"pattern 'nrom\*' matches no norm; the model has norm1"):
        dyt.convert(Block(), exclude=["nrom*"])
