"""Build the layers of a variant: with which options, and with the values of the old norms."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dyt._audit.sites import NormSite
from dyt._gradual import Gradual
from dyt._surgery.encoder import make_readable
from dyt.rivals import Method
from dyt.variants import VARIANTS, WITHOUT_ALPHA, Build


def target(to: str | Build, alpha: object, recipe: object) -> Build:
    """How to build the layers that ``to`` means.

    Raises:
        ValueError: an unknown name, or alpha chosen twice or for a variant that has none.
    """
    if alpha is not None and recipe is not None:
        raise ValueError("give alpha_init_value or recipe: both choose alpha")
    if isinstance(to, str) and to not in VARIANTS:
        known = ", ".join(map(repr, VARIANTS))
        raise ValueError(f"to must be one of {known}, or a class; got {to!r}")
    build = VARIANTS[to] if isinstance(to, str) else to
    if build in WITHOUT_ALPHA and (alpha is not None or recipe is not None):
        name = to if isinstance(to, str) else getattr(to, "__name__", to)
        raise ValueError(f"{name!r} has no alpha: leave out alpha_init_value and recipe")
    return build


@dataclass(frozen=True)
class Place:
    """Device and dtype of a new parameter."""

    device: torch.device
    dtype: torch.dtype


def place(model: nn.Module, name: str) -> Place:
    """Those of the module's own parameter, else of the nearest module around that has any."""
    names = name.split(".")
    around = [model.get_submodule(".".join(names[:depth])) for depth in range(len(names), -1, -1)]
    for module in around if name else [model]:
        for parameter in module.parameters():
            if parameter.is_floating_point():
                return Place(parameter.device, parameter.dtype)
    return Place(torch.get_default_device(), torch.get_default_dtype())


def build_all(
    model: nn.Module,
    sites: list[NormSite],
    build: Build,
    alpha_init_value: float | Callable[[NormSite], float] | None,
) -> tuple[dict[nn.Module, nn.Module], dict[NormSite, str]]:
    """The layer of each site, and for sites where building it failed, the reason."""
    built: dict[nn.Module, nn.Module] = {}
    failed: dict[NormSite, str] = {}
    shared: dict[Tensor, nn.Parameter] = {}  # old parameter -> new
    for site in sites:
        options = _options(site, build, place(model, site.name))
        alpha = alpha_init_value(site) if callable(alpha_init_value) else alpha_init_value
        if alpha is not None:
            options["alpha_init_value"] = _checked_alpha(alpha, site)
        try:
            new = build(site.normalized_shape, **options)
            _copy_values(site, new, shared)
        except Exception as error:  # third-party code: whatever it raises is reported by site
            failed[site] = f"{type(error).__name__}: {error}"
            continue
        built[site.module] = finish(model, site.names, site.module, site.activation, new)
    return built, failed


# When sites change one after another: those of the same role from the model's input to its output.
_TURNS = {"feed-forward": 0, "attention": 1, "final": 3}
_OTHERS = 2


def one_by_one(
    model: nn.Module,
    sites: Sequence[NormSite],
    built: Mapping[nn.Module, nn.Module],
    span: tuple[float, float],
) -> dict[nn.Module, nn.Module]:
    """The layers that `build_all` made, each with its norm, which it takes the place of in turn.

    Args:
        span: shares of training between which they do, each for an equal part of it.
    """
    begin, end = span
    turns = sorted(
        (site for site in sites if site.module in built),
        key=lambda site: _TURNS.get(site.role, _OTHERS),
    )
    found = dict[nn.Module, nn.Module]()
    for turn, site in enumerate(turns):
        first, last = (begin + (end - begin) * n / len(turns) for n in (turn, turn + 1))
        both = Gradual(site.module, built[site.module], first, last)
        found[site.module] = finish(model, site.names, site.module, (), both)
    return found


def _options(site: NormSite, build: Build, place: Place) -> dict[str, object]:
    options: dict[str, object] = {
        "elementwise_affine": site.affine,
        "bias": site.bias is not None,
        "channels_last": site.channels_last,
        "device": place.device,
        "dtype": place.dtype,
    }
    layer = build.layer if isinstance(build, Method) else build
    if "eps" in getattr(layer, "OPTIONS", ()):
        options["eps"] = site.eps
    return options


def _checked_alpha(alpha: float, site: NormSite) -> float:
    if not math.isfinite(alpha):
        raise ValueError(f"alpha_init_value must be finite, got {alpha} for {site.name!r}")
    return float(alpha)


def _copy_values(site: NormSite, new: nn.Module, shared: dict[Tensor, nn.Parameter]) -> None:
    """Give ``new`` the old norm's values, its shared parameters and its ``requires_grad``."""
    if getattr(new, "AVERAGES", False) and site.channels_last:
        averaged = len(site.normalized_shape) or 1
        if site.axes != tuple(range(-averaged, 0)):
            raise ValueError(f"weights of shape {site.normalized_shape}, averaged over {site.axes}")
    for name, old, value in (
        ("weight", site.weight, site.gamma),
        ("bias", site.bias, site.bias),
    ):
        fresh = getattr(new, name, None)
        if not isinstance(fresh, nn.Parameter):
            continue  # an RMSNorm has no bias, a third-party class may have no weight
        if old is None:
            setattr(new, name, None)  # a norm with a bias only
            continue
        if old in shared:
            setattr(new, name, shared[old])
            continue
        assert value is not None
        with torch.no_grad():
            fresh.copy_(value.reshape(fresh.shape))
        fresh.requires_grad_(old.requires_grad)
        shared[old] = fresh
    frozen = site.affine and not any(p.requires_grad for p in site.module.parameters(recurse=False))
    if frozen:
        new.requires_grad_(False)


def finish(
    model: nn.Module,
    names: Sequence[str],
    norm: nn.Module,
    activation: Sequence[str],
    layer: nn.Module,
) -> nn.Module:
    """The layer in the norm's mode, with its activation, and ready for its parents.

    Args:
        model: the model with the norm.
        names: where in the model the norm is.
        norm: the norm.
        activation: its children that are kept.
        layer: what takes its place.
    """
    layer.train(norm.training)
    parents = [model.get_submodule(name.rpartition(".")[0]) for name in names if name]
    if not parents or any(isinstance(p, nn.TransformerEncoderLayer) for p in parents):
        make_readable(layer)  # a layer without a parent may get one
    if activation:
        kept = [(name, norm.get_submodule(name)) for name in activation]
        sequence = nn.Sequential()
        for name, part in [("norm", layer), *kept]:
            sequence.add_module(name, part)
        sequence.training = layer.training
        return sequence
    return layer
