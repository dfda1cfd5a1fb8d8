"""Swap the norms of any model for element-wise layers, and back.

`audit` finds the norms and `build` makes the layers. Here sites are chosen, layers are put in
place, and the originals are kept.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from glob import escape

from torch import nn

from dyt._audit.audit import audit
from dyt._audit.sites import NormSite
from dyt._surgery.build import build_all, one_by_one, target
from dyt._surgery.encoder import keep_from_kernel
from dyt._surgery.placing import is_put_in, original, put_in, replace
from dyt._surgery.saving import make_savable
from dyt._surgery.wrappers import check_plain
from dyt.recipes import Recipe, resolve
from dyt.variants import WITHOUT_ALPHA, Build


def select(
    model: nn.Module,
    *,
    include: Collection[str] | None = None,
    exclude: Collection[str] | None = None,
) -> list[NormSite]:
    """The norms of ``model`` that `convert` swaps with the same patterns.

    Raises:
        ValueError: a pattern that matches no norm of the model, or one in ``include`` that
            matches none that can be replaced.

    Example:
        >>> import torch, dyt
        >>> model = torch.nn.Sequential(torch.nn.LayerNorm(4), torch.nn.LayerNorm(4))
        >>> [site.name for site in dyt.select(model, exclude="1")]
        ['0']
    """
    return _selected(audit(model), _patterns(include), _patterns(exclude) or ())


def convert(
    model: nn.Module,
    to: str | Build = "dyt",
    *,
    include: Collection[str] | None = None,
    exclude: Collection[str] | None = None,
    alpha_init_value: float | Callable[[NormSite], float] | None = None,
    recipe: str | Recipe | Callable[[nn.Module], Recipe] | None = None,
    strict: bool = True,
) -> nn.Module:
    """Swap every replaceable norm of ``model``, in place, and return the model.

    Args:
        model: any module, on any device, the meta device included. If it is itself a norm, its
            replacement is returned.
        to: a name in `dyt.variants`, such as "dyt", "derf", "arctan" or "rmsnorm"; or a class
            that is called as `DynamicTanh` is.
        include: glob patterns of qualified names; only these are swapped. None means all.
        exclude: glob patterns of qualified names that are left as they are.
        alpha_init_value: alpha at the start, one for all or a function of the site; None for the
            layer's own default.
        recipe: a name in `dyt.recipes`, or a recipe: it chooses alpha and sites, and may change
            other modules with them, or change the sites one after another while the model trains
            (`dyt.Gradual`).
        strict: raise if a norm would be left behind, because its kind is unknown (see
            `dyt.NormSite`) or its layer cannot be built. Name it in ``exclude``, or pass False,
            to leave it.

    Each new layer has the old one's shape, layout, device, dtype, training mode and
    ``requires_grad`` (if all parameters of a norm are frozen, so are those of the layer). It has a
    weight and a bias only where the old one had them, with their values; if a weight is stored as
    its difference from one, one is added. ``alpha`` has the weight's dtype, or without a weight
    that of the modules around. A module shared by several parents is replaced by one shared layer,
    and shared parameters stay shared. A norm with an activation (timm's ``LayerNormAct``) becomes
    an ``nn.Sequential`` of the layer, named ``norm``, and its own children. All other keys of
    ``state_dict`` stay.

    Hooks belong to the module that they were registered on: they leave with the old norm and return
    with it after `revert`.

    Raises:
        ValueError: unknown ``to`` or ``recipe``; a recipe for another architecture; a pattern
            that matches no norm; a model without replaceable norms, or compiled, quantized,
            with adapters or wrapped for parallel training; in strict mode a norm left behind.
            The model is then as it was.

    Example:
        >>> import torch, dyt
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8))
        >>> type(dyt.convert(model, "derf", alpha_init_value=0.7)[1])
        <class 'dyt.layers.DynamicErf'>
    """
    check_plain(model)
    build = target(to, alpha_init_value, recipe)
    recipe = getattr(build, "recipe", recipe)
    sites = audit(model)
    chosen = _selected(sites, _patterns(include), _patterns(exclude) or ())
    _refuse_nothing(model, sites, chosen)
    changes: dict[nn.Module, nn.Module] = {}
    span: tuple[float, float] | None = None
    unknown = [site for site in sites if site.kind == "unknown"]
    unknown = _wanted(unknown, _patterns(include), _patterns(exclude) or ())
    if recipe is not None:
        rule = resolve(recipe, model, chosen)
        chosen, unknown = (list(filter(rule.takes, some)) for some in (chosen, unknown))
        changes.update(rule.around(model))
        span = rule.gradual
        if not chosen and not changes:
            raise ValueError(f"recipe {rule.name!r} takes none of the norms left by the patterns")
        alpha_init_value = None if build in WITHOUT_ALPHA else rule.alpha
    built, failed = build_all(model, chosen, build, alpha_init_value)
    if strict or not built:
        _refuse_left({**failed, **{site: site.reason or "" for site in unknown}})
    changes.update(built if span is None else one_by_one(model, chosen, built, span))
    model = put_in(model, changes)
    keep_from_kernel(model, is_put_in)
    make_savable(model)
    return model


def revert(model: nn.Module) -> nn.Module:
    """Undo `convert`, in place: the original modules return, with their hooks and weights.

    They get the model's present device, dtype and training mode. What training changed in other
    modules stays; what it changed in the layers put in is lost. Returns the model, or the original
    if the layer is itself the root.

    Raises:
        ValueError: nothing in the model was put in by `convert`, or an original has no
            values: it was on the meta device and the model no longer is, or `dyt.load` made the
            model.

    Example:
        >>> import torch, dyt
        >>> model = dyt.convert(torch.nn.Sequential(torch.nn.LayerNorm(8)), "dyt")
        >>> type(dyt.revert(model)[0]).__name__
        'LayerNorm'
    """
    changes = {}
    for name, module in model.named_modules():
        old = original(module)
        if old is None:
            continue
        if _on_meta(old) and not _on_meta(module):
            raise ValueError(
                f"the original of {name!r} was replaced by dyt.load, or swapped on the meta device "
                "and has no values; build the model again"
            )
        changes[module] = old
    if not changes:
        raise ValueError(f"{type(model).__name__} holds no layer that dyt.convert put in")
    for module, old in changes.items():
        _follow(old, module)
    model = replace(model, changes)
    keep_from_kernel(model, is_put_in)
    make_savable(model)
    return model


def convert_ln_to_dyt(model: nn.Module) -> nn.Module:
    """Swap every `torch.nn.LayerNorm` for `DynamicTanh`, as the published function does.

    Other norms (RMSNorm, third-party classes) stay; `convert` swaps them too.

    Source: arXiv 2503.10622.
    """
    chosen = [s for s in audit(model) if s.replaceable and isinstance(s.module, nn.LayerNorm)]
    if not chosen:
        return model
    names = [name for site in chosen for name in site.names]
    return convert(model, include=[escape(name) for name in names])


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
    return _wanted([site for site in sites if site.replaceable], include, exclude)


def _wanted(
    sites: list[NormSite], include: tuple[str, ...] | None, exclude: tuple[str, ...]
) -> list[NormSite]:
    return [
        site
        for site in sites
        if (include is None or _matches(site, include)) and not _matches(site, exclude)
    ]


def _refuse_nothing(model: nn.Module, sites: list[NormSite], chosen: list[NormSite]) -> None:
    if chosen:
        return
    if any(site.replaceable for site in sites):
        raise ValueError("include and exclude leave no norm to replace")
    which = f"; it has {sites[0].name or 'itself'}: {sites[0].reason}" if sites else ""
    if any(map(is_put_in, model.modules())):
        which = "; it is converted already: dyt.revert undoes it"
    raise ValueError(f"{type(model).__name__} has no norm that can be replaced{which}")


def _refuse_left(left: Mapping[NormSite, str]) -> None:
    if left:
        listed = "; ".join(f"{site.name} ({site.class_name}): {why}" for site, why in left.items())
        raise ValueError(
            f"norms would be left behind: {listed}. Exclude them, pass strict=False, or declare "
            "their class with dyt.register_norm"
        )


def _on_meta(module: nn.Module) -> bool:
    return any(parameter.is_meta for parameter in module.parameters())


def _follow(original: nn.Module, module: nn.Module) -> None:
    """Give ``original`` the device, dtype and mode of ``module``, which had replaced it."""
    now = next((p for p in module.parameters() if p.is_floating_point()), None)
    then = next((p for p in original.parameters() if p.is_floating_point()), None)
    if (
        now is not None
        and then is not None
        and (now.device, now.dtype) != (then.device, then.dtype)
    ):
        original.to(now.device, now.dtype)
    original.train(module.training)
