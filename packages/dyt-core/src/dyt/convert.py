"""Swap the norms of any model for element-wise layers, and back.

What is a norm, and whether it can be replaced, `dyt.audit` says; here sites are chosen, layers
built and put in place, and the originals kept for `revert`.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

import torch
from torch import nn

from dyt.audit import audit
from dyt.family import FAMILY
from dyt.modules import DynamicErf, DynamicTanh, PointwiseNorm
from dyt.norms import LayerNorm, RMSNorm
from dyt.recipes import Recipe, resolve
from dyt.sites import NormSite
from dyt.wrappers import check_plain

# Built as DynamicTanh is: (normalized_shape, alpha_init_value=, elementwise_affine=, bias=,
# channels_last=, device=, dtype=).
Replacement = Callable[..., nn.Module]

# The published layers under their names; the rest of the family with a shift, as Derf has.
REPLACEMENTS: dict[str, Replacement] = {
    "dyt": DynamicTanh,
    "derf": DynamicErf,
    **{name: partial(PointwiseNorm, function=name, shift_init_value=0.0) for name in FAMILY},
    "tanh": DynamicTanh,
    "erf": DynamicErf,
}
WITHOUT_ALPHA: dict[str, Replacement] = {
    "identity": nn.Identity,
    "rmsnorm": RMSNorm,
    "layernorm": LayerNorm,
}

_ORIGINAL = "_dyt_original"  # on a layer put in: a tuple, so that no state_dict shows what it holds


def select(
    model: nn.Module,
    *,
    include: Collection[str] | None = None,
    exclude: Collection[str] | None = None,
) -> list[NormSite]:
    """The replaceable norms of ``model`` that `convert` swaps for the same patterns.

    Raises:
        ValueError: a pattern that matches no norm of the model, or one in ``include`` that
            matches none which can be replaced.
    """
    return _selected(audit(model), _patterns(include), _patterns(exclude) or ())


def convert(
    model: nn.Module,
    to: str | Replacement = "dyt",
    *,
    include: Collection[str] | None = None,
    exclude: Collection[str] | None = None,
    alpha_init_value: float | Callable[[NormSite], float] | None = None,
    recipe: str | Recipe | Callable[[nn.Module], Recipe] | None = None,
    strict: bool = True,
) -> nn.Module:
    """Swap every replaceable norm of ``model``, in place, and return the model.

    Args:
        model: any module, on any device, the meta device included. If it is itself a norm, the
            layer that replaces it is returned.
        to: "dyt", "derf", or another function of `dyt.FAMILY`; "identity", "rmsnorm" or
            "layernorm"; or a class built as `DynamicTanh` is.
        include: glob patterns of qualified names; only these are swapped. None means all.
        exclude: glob patterns of qualified names to leave alone.
        alpha_init_value: alpha at the start, one for all or by site; None for the layer's own
            default.
        recipe: a name in `dyt.recipes`, or a recipe: it chooses alpha and sites, and may change
            other modules with them.
        strict: raise if a norm would stay behind unseen: one that nobody can tell the kind of,
            or that cannot be rebuilt. Name it in ``exclude``, or pass False, to leave it.

    Each new layer has the old one's shape, layout, device, dtype, training mode and
    ``requires_grad`` (a norm all of whose parameters are frozen gives a frozen layer), and a
    weight and a bias only where the old one had them, with their values: where a weight is
    stored as its difference from one, one is added. ``alpha`` takes the weight's dtype, or
    without a weight that of the modules around. A module shared by several parents is replaced
    by one shared layer, and parameters that norms share stay shared. A norm with an activation
    (timm's ``LayerNormAct``) becomes an ``nn.Sequential`` of the layer, ``norm``, and its own
    children. The keys of all else in ``state_dict`` stay.

    Hooks belong to the module they were put on: they leave with the old norm and come back
    with it when `revert` does.

    Raises:
        ValueError: unknown ``to`` or ``recipe``; a recipe for another architecture; a pattern
            that matches no norm; a model without replaceable norms, or compiled, quantized,
            with adapters or wrapped for parallel training; in strict mode a norm left behind.
            The model is then as it was.
    """
    check_plain(model)
    target = _target(to, alpha_init_value, recipe)
    sites = audit(model)
    chosen = _selected(sites, _patterns(include), _patterns(exclude) or ())
    _refuse_nothing(model, sites, chosen)
    changes: dict[nn.Module, nn.Module] = {}
    if recipe is not None:
        rule = resolve(recipe, model, chosen)
        chosen = [site for site in chosen if rule.takes(site)]
        if not chosen:
            raise ValueError(f"recipe {rule.name!r} takes none of the norms left by the patterns")
        alpha_init_value = rule.alpha
        changes.update(rule.around(model))
    built, failed = _build_all(model, chosen, target, alpha_init_value)
    if strict or not built:
        _refuse_left(sites, _patterns(include), _patterns(exclude) or (), failed)
    changes.update(built)
    return _replace(model, changes)


def revert(model: nn.Module) -> nn.Module:
    """Undo `convert`, in place: the original modules come back, with their hooks and weights.

    They follow the model to where it has been moved since, and into its training mode. What
    training changed in other modules stays; what it changed in the layers put in is lost.
    Returns the model, or the original of a layer that is itself the root.

    Raises:
        ValueError: nothing in the model was put in by `convert`, or an original was on the meta
            device and the model no longer is: it has no values to come back with.
    """
    changes = {}
    for name, module in model.named_modules():
        if _ORIGINAL in module.__dict__:
            (original,) = module.__dict__[_ORIGINAL]
            if _on_meta(original) and not _on_meta(module):
                raise ValueError(
                    f"the original of {name!r} was swapped on the meta device and has no values; "
                    "build the model anew"
                )
            changes[module] = original
    if not changes:
        raise ValueError(f"{type(model).__name__} holds no layer that dyt.convert put in")
    for module, original in changes.items():
        _follow(original, module)
    return _replace(model, changes, keep=False)


def convert_ln_to_dyt(model: nn.Module) -> nn.Module:
    """Swap every `torch.nn.LayerNorm` for `DynamicTanh`, as the published function does.

    Other norms (RMSNorm, whatever a library calls its own) stay; `convert` takes them all.
    """
    chosen = [s for s in audit(model) if s.replaceable and isinstance(s.module, nn.LayerNorm)]
    built, _ = _build_all(model, chosen, DynamicTanh, None)
    return _replace(model, built)


def _patterns(given: Collection[str] | None) -> tuple[str, ...] | None:
    return (given,) if isinstance(given, str) else None if given is None else tuple(given)


def _matches(site: NormSite, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in site.names)


def _selected(
    sites: list[NormSite], include: tuple[str, ...] | None, exclude: tuple[str, ...]
) -> list[NormSite]:
    for pattern in (*(include or ()), *exclude):
        matched = [site for site in sites if _matches(site, [pattern])]
        if not matched:
            some = ", ".join(site.name or "itself" for site in sites[:5]) or "none at all"
            raise ValueError(f"pattern {pattern!r} matches no norm; the model has {some} ...")
        if pattern in (include or ()) and not any(site.replaceable for site in matched):
            raise ValueError(
                f"include pattern {pattern!r} matches no norm that can be replaced: "
                f"{matched[0].name}: {matched[0].reason}"
            )
    return [
        site
        for site in sites
        if site.replaceable
        and (include is None or _matches(site, include))
        and not _matches(site, exclude)
    ]


def _target(to: str | Replacement, alpha: object, recipe: object) -> Replacement:
    if alpha is not None and recipe is not None:
        raise ValueError("give alpha_init_value or recipe: both choose alpha")
    if not isinstance(to, str):
        return to
    if to in WITHOUT_ALPHA:
        if alpha is not None or recipe is not None:
            raise ValueError(f"{to!r} has no alpha: leave out alpha_init_value and recipe")
        return WITHOUT_ALPHA[to]
    if to not in REPLACEMENTS:
        known = ", ".join(map(repr, (*REPLACEMENTS, *WITHOUT_ALPHA)))
        raise ValueError(f"to must be one of {known}, or a class; got {to!r}")
    return REPLACEMENTS[to]


def _refuse_nothing(model: nn.Module, sites: list[NormSite], chosen: list[NormSite]) -> None:
    if chosen:
        return
    if any(site.replaceable for site in sites):
        raise ValueError("include and exclude leave no norm to replace")
    which = f"; it has {sites[0].name or 'itself'}: {sites[0].reason}" if sites else ""
    if any(_ORIGINAL in module.__dict__ for module in model.modules()):
        which = "; it is converted already: dyt.revert undoes it"
    raise ValueError(f"{type(model).__name__} has no norm that can be replaced{which}")


def _refuse_left(
    sites: list[NormSite],
    include: tuple[str, ...] | None,
    exclude: tuple[str, ...],
    failed: Mapping[NormSite, str],
) -> None:
    left = dict(failed)
    for site in sites:
        wanted = include is None or _matches(site, include)
        if site.kind == "unknown" and wanted and not _matches(site, exclude):
            left[site] = site.reason or ""
    if left:
        listed = "; ".join(f"{site.name} ({site.class_name}): {why}" for site, why in left.items())
        raise ValueError(
            f"{len(left)} norms would stay behind: {listed}. Exclude them, pass strict=False, or "
            "declare their class with dyt.register_norm"
        )


@dataclass(frozen=True)
class _Place:
    """Where a new parameter goes."""

    device: torch.device
    dtype: torch.dtype


def _place(model: nn.Module, site: NormSite) -> _Place:
    """That of the norm's own parameter, else of the nearest module around that has any."""
    names = site.name.split(".")
    around = [model.get_submodule(".".join(names[:depth])) for depth in range(len(names), -1, -1)]
    for module in around if site.name else [model]:
        for parameter in module.parameters():
            if parameter.is_floating_point():
                return _Place(parameter.device, parameter.dtype)
    return _Place(torch.get_default_device(), torch.get_default_dtype())


def _build_all(
    model: nn.Module,
    sites: list[NormSite],
    replacement: Replacement,
    alpha_init_value: float | Callable[[NormSite], float] | None,
) -> tuple[dict[nn.Module, nn.Module], dict[NormSite, str]]:
    """A layer for each site, and for those where that failed, why."""
    built: dict[nn.Module, nn.Module] = {}
    failed: dict[NormSite, str] = {}
    shared: dict[nn.Parameter, nn.Parameter] = {}  # old parameter -> new
    for site in sites:
        options = _options(site, replacement, _place(model, site))
        alpha = alpha_init_value(site) if callable(alpha_init_value) else alpha_init_value
        if alpha is not None:
            options["alpha_init_value"] = _checked_alpha(alpha, site)
        try:
            new = replacement(site.normalized_shape, **options)
            _hand_on(site, new, shared)
        except Exception as error:  # whatever a stranger's class raises is told with its site
            failed[site] = f"{type(error).__name__}: {error}"
            continue
        built[site.module] = _finish(model, site, new)
    return built, failed


def _options(site: NormSite, replacement: Replacement, place: _Place) -> dict[str, object]:
    if replacement is nn.Identity:
        return {}
    options: dict[str, object] = {
        "elementwise_affine": site.affine,
        "bias": site.bias is not None,
        "channels_last": site.channels_last,
        "device": place.device,
        "dtype": place.dtype,
    }
    if replacement in (LayerNorm, RMSNorm):
        options["eps"] = site.eps
    return options


def _checked_alpha(alpha: float, site: NormSite) -> float:
    if not math.isfinite(alpha):
        raise ValueError(f"alpha_init_value must be finite, got {alpha} for {site.name!r}")
    return float(alpha)


def _hand_on(site: NormSite, new: nn.Module, shared: dict[nn.Parameter, nn.Parameter]) -> None:
    """Give ``new`` the old norm's values, sharing and ``requires_grad``."""
    if isinstance(new, nn.Identity):
        return
    if isinstance(new, LayerNorm | RMSNorm) and site.channels_last:
        averaged = len(site.normalized_shape) or 1
        if site.axes != tuple(range(-averaged, 0)):
            raise ValueError(f"weights of shape {site.normalized_shape}, averaged over {site.axes}")
    for name, old, value in (
        ("weight", site.weight, site.gamma),
        ("bias", site.bias, site.bias),
    ):
        fresh = getattr(new, name, None)
        if not isinstance(old, nn.Parameter) or not isinstance(fresh, nn.Parameter):
            continue  # the norm has none; or the new layer, as an RMSNorm has no bias
        if old in shared:
            setattr(new, name, shared[old])
            continue
        assert value is not None
        fresh.data.copy_(value.detach().reshape(fresh.shape))
        shared[old] = fresh.requires_grad_(old.requires_grad)
    frozen = site.affine and not any(p.requires_grad for p in site.module.parameters(recurse=False))
    if frozen:
        new.requires_grad_(False)


def _finish(model: nn.Module, site: NormSite, new: nn.Module) -> nn.Module:
    """The layer with the norm's activation, in its mode, fit for the parents it goes to."""
    parents = [model.get_submodule(name.rpartition(".")[0]) for name in site.names if name]
    if any(isinstance(parent, nn.TransformerEncoderLayer) for parent in parents):
        # In eval mode it would hand its norms' weights to a fused kernel if both had one eps.
        # NaN equals nothing, so it calls them instead.
        new.__dict__.setdefault("eps", math.nan)
    if site.activation:
        kept = [(name, site.module.get_submodule(name)) for name in site.activation]
        sequence = nn.Sequential()
        for name, part in [("norm", new), *kept]:
            sequence.add_module(name, part)
        new = sequence
    new.training = site.module.training
    if not site.activation:
        new.train(site.module.training)
    return new


def _replace(
    model: nn.Module, changes: Mapping[nn.Module, nn.Module], *, keep: bool = True
) -> nn.Module:
    """Put each value wherever its key stands; returns the (possibly new) root."""
    places = [(name, m) for name, m in model.named_modules(remove_duplicate=False) if m in changes]
    if keep:
        for old, new in changes.items():
            new.__dict__[_ORIGINAL] = (old,)
    root = changes.get(model, model)
    for name, old in places:
        parent, _, attribute = name.rpartition(".")
        if name:
            model.get_submodule(parent)._modules[attribute] = changes[old]
    return root


def _on_meta(module: nn.Module) -> bool:
    return any(parameter.is_meta for parameter in module.parameters())


def _follow(original: nn.Module, module: nn.Module) -> None:
    """Move ``original`` to where ``module``, which stood for it, is now."""
    now = next((p for p in module.parameters() if p.is_floating_point()), None)
    then = next((p for p in original.parameters() if p.is_floating_point()), None)
    if (
        now is not None
        and then is not None
        and (now.device, now.dtype) != (then.device, then.dtype)
    ):
        original.to(now.device, now.dtype)
    original.train(module.training)
