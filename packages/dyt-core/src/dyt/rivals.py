"""Rivals that change more than norms: each a layer for the norms' places, and the recipe with it.

`dyt.convert` takes them by the names in `dyt.variants`, as it does a layer::

    dyt.convert(timm.create_model("vit_base_patch16_224"), "fixup")
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dyt._audit.audit import audit
from dyt._audit.sites import NormSite
from dyt.norms import TaperNorm
from dyt.parts import FixupLinear, FlashLinear, ScaledLinear, SigmaConv2d, SigmaLinear
from dyt.recipes import Recipe

__all__ = ["Method", "ScalarShift", "fixup", "flashnorm", "sigma_reparam", "skipinit", "tapernorm"]


@dataclass(frozen=True)
class Method:
    """A layer for the norms' places and the recipe that is published with it.

    Called, it makes the layer, so that it can stand wherever a class of layers can.
    """

    layer: Callable[..., nn.Module]
    recipe: Recipe

    def __call__(self, normalized_shape: int | Sequence[int], **options: Any) -> nn.Module:
        return self.layer(normalized_shape, **options)


class ScalarShift(nn.Module):
    """``y = x + shift``: one learnable scalar, of shape [1], started at 0, where a norm stood.

    Args:
        normalized_shape, elementwise_affine, bias, channels_last: taken for the sake of the other
            layers; any input will do.
        device, dtype: of the parameter.

    Source: Fixup, arXiv 1901.09321.
    """

    NO_DECAY: ClassVar[tuple[str, ...]] = ("shift",)

    def __init__(
        self,
        normalized_shape: int | Sequence[int] = (),
        elementwise_affine: bool = True,
        bias: bool = True,
        channels_last: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """x of any floating dtype -> the same shape and dtype."""
        return x + self.shift.to(x.dtype)


# ---- Vision Transformers: what the three rivals of arXiv 2503.10622, table 9, are applied to

_BLOCK = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


def _blocks(model: nn.Module) -> list[dict[str, nn.Linear]]:
    """The linear layers of each Transformer block, by their names in timm's ViT."""
    found = []
    for module in model.modules():
        parts = dict(module.named_modules())
        if all(type(parts.get(name)) is nn.Linear for name in _BLOCK):
            found.append({name: parts[name] for name in _BLOCK})
    return found


def _not_vit(model: nn.Module, sites: Sequence[NormSite]) -> str | None:
    if not _blocks(model) or any(site.role == "query/key" for site in sites):
        return "blocks of linear layers attn.qkv, attn.proj, mlp.fc1 and mlp.fc2, as timm's ViT has"
    return None


def _fixed_up(model: nn.Module) -> dict[nn.Module, nn.Module]:
    """The linear layers as Fixup starts them: L branches, of 4 weights each (attention) or 2.

    Weights that are not the last of their branch are scaled by L^(-1 / (2m - 2)), the last is 0.
    """
    blocks = _blocks(model)
    branches = 2 * len(blocks)
    changes: dict[nn.Module, nn.Module] = {}
    for block in blocks:
        qkv, proj, fc1, fc2 = (block[name] for name in _BLOCK)
        changes[qkv] = FixupLinear(qkv, branches ** (-1 / 6))
        changes[proj] = FixupLinear(proj, 0.0, scaled=True)
        changes[fc1] = FixupLinear(fc1, branches ** (-1 / 2), after=True)
        changes[fc2] = FixupLinear(fc2, 0.0, before=True, scaled=True)
    if type(head := getattr(model, "head", None)) is nn.Linear:
        changes[head] = _zero(head)
    return changes


def _zero(old: nn.Linear) -> nn.Linear:
    new = nn.Linear(
        old.in_features,
        old.out_features,
        bias=old.bias is not None,
        device=old.weight.device,
        dtype=old.weight.dtype,
    )
    for parameter, before in zip(new.parameters(), old.parameters(), strict=True):
        nn.init.zeros_(parameter).requires_grad_(before.requires_grad)
    return new.train(old.training)


def _scaled_branches(model: nn.Module) -> dict[nn.Module, nn.Module]:
    ends = [block[name] for block in _blocks(model) for name in ("attn.proj", "mlp.fc2")]
    return {end: ScaledLinear(end) for end in ends}


def _reparametrized(model: nn.Module) -> dict[nn.Module, nn.Module]:
    changes: dict[nn.Module, nn.Module] = {}
    for module in model.modules():
        if type(module) is nn.Linear:
            changes[module] = SigmaLinear(module)
        elif type(module) is nn.Conv2d:
            changes[module] = SigmaConv2d(module)
    return changes


fixup = Method(
    ScalarShift,
    Recipe(
        "fixup",
        None,
        "arXiv 1901.09321, section 3, as in the authors' Transformer, for ViT: branches start at 0 "
        "by their last weight, the others scaled by their number, scalars for biases, and a "
        "classifier of zeros",
        misfit=_not_vit,
        around=_fixed_up,
    ),
)
skipinit = Method(
    nn.Identity,
    Recipe(
        "skipinit",
        None,
        "arXiv 2002.10444, for ViT: no norms, and a learnable scalar at the end of each residual "
        "branch, started at 0",
        misfit=_not_vit,
        around=_scaled_branches,
    ),
)
sigma_reparam = Method(
    nn.Identity,
    Recipe(
        "sigma-reparam",
        None,
        "arXiv 2303.06296, for ViT: no norms, and every weight W of a linear layer or convolution "
        "becomes gain / sigma(W) * W",
        misfit=_not_vit,
        around=_reparametrized,
    ),
)

# ---- LLaMA

# A norm, and the linear layers that read it, by their names in a layer of transformers' LLaMA.
_READERS = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
}


def _is_inner(site: NormSite) -> bool:
    return site.role in ("attention", "feed-forward")


def _flash_sites(sites: Sequence[NormSite]) -> list[NormSite]:
    return [site for site in sites if site.replaceable and _is_inner(site)]


def _not_flash(model: nn.Module, sites: Sequence[NormSite]) -> str | None:
    wanted = "RMS norms input_layernorm and post_attention_layernorm, each read by linear layers"
    chosen = _flash_sites(sites)
    fits = all(site.kind == "rms" and site.name.rpartition(".")[2] in _READERS for site in chosen)
    try:
        linear = [type(reader) is nn.Linear for site in chosen for reader in _readers(model, site)]
    except (AttributeError, KeyError):
        return wanted
    return None if chosen and fits and all(linear) else wanted


def _readers(model: nn.Module, site: NormSite) -> list[nn.Module]:
    layer, _, norm = site.name.rpartition(".")
    return [model.get_submodule(f"{layer}.{name}") for name in _READERS[norm]]


def _deferred(model: nn.Module) -> dict[nn.Module, nn.Module]:
    changes: dict[nn.Module, nn.Module] = {}
    for site in _flash_sites(audit(model)):
        for reader in _readers(model, site):
            assert isinstance(reader, nn.Linear)
            changes[reader] = FlashLinear(reader, site.eps or 0.0, site.gamma)
    return changes


flashnorm = Method(
    nn.Identity,
    Recipe(
        "flashnorm",
        None,
        "arXiv 2407.09577, for LLaMA: the norms before attention and feed-forward parts move past "
        "the linear layers that read them, their weights into those; the final norm stays",
        takes=_is_inner,
        misfit=_not_flash,
        around=_deferred,
    ),
)


def _is_not_final(site: NormSite) -> bool:
    return site.role != "final"


tapernorm = Method(
    TaperNorm,
    Recipe(
        "tapernorm",
        None,
        "arXiv 2602.10408, Internal-Taper: every norm but the final one, which anchors the scale",
        takes=_is_not_final,
    ),
)
