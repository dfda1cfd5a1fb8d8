"""Find the norms of any model and swap them for element-wise layers.

Norms are recognised by structure (a leaf with one 1-D weight, or none, whose class derives from
a PyTorch norm or is called one), because transformers alone has over two hundred norm classes.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from dyt.modules import DynamicErf, DynamicTanh

# Built as DynamicTanh is: (normalized_shape, alpha_init_value=, elementwise_affine=, bias=,
# channels_last=, device=, dtype=).
Replacement = Callable[..., nn.Module]

REPLACEMENTS: dict[str, Replacement] = {"dyt": DynamicTanh, "derf": DynamicErf}


@dataclass(frozen=True)
class NormSite:
    """One norm of a model, under every name it is reachable by."""

    names: tuple[str, ...]  # qualified names; more than one where parents share the module
    module: nn.Module
    normalized_shape: tuple[int, ...]
    channels_last: bool
    reason: str | None = None  # why it is left as it is; None if it can be replaced

    @property
    def name(self) -> str:
        """The first qualified name; empty for the root."""
        return self.names[0]

    @property
    def weight(self) -> Tensor | None:
        weight = getattr(self.module, "weight", None)
        return weight if isinstance(weight, Tensor) else None

    @property
    def bias(self) -> Tensor | None:
        bias = getattr(self.module, "bias", None)
        return bias if isinstance(bias, Tensor) else None


def audit(model: nn.Module) -> list[NormSite]:
    """Every norm module of ``model`` in registration order, each once.

    A site that cannot stand a swap carries its ``reason``: batch, group and instance norms
    mean over more than features (the authors found that replacing BatchNorm loses accuracy),
    a norm with children does more than normalize, and one that hides its width cannot be
    rebuilt.
    """
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    sites = (_site(module, tuple(where)) for module, where in names.items())
    return [site for site in sites if site is not None]


def select(
    model: nn.Module,
    *,
    include: Collection[str] | None = None,
    exclude: Collection[str] = (),
) -> list[NormSite]:
    """The replaceable norms of ``model`` that `convert` swaps for the same patterns.

    Raises:
        ValueError: a pattern that matches no replaceable norm of the model.
    """
    sites = [site for site in audit(model) if site.reason is None]
    for pattern in (*(include or ()), *exclude):
        if not any(_matches(site, [pattern]) for site in sites):
            some = ", ".join(site.name for site in sites[:5]) or "none at all"
            raise ValueError(f"pattern {pattern!r} matches no norm; the model has {some} ...")
    return [
        site
        for site in sites
        if (include is None or _matches(site, include)) and not _matches(site, exclude)
    ]


def convert(
    model: nn.Module,
    to: str | Replacement = "dyt",
    *,
    include: Collection[str] | None = None,
    exclude: Collection[str] = (),
    alpha_init_value: float | Callable[[NormSite], float] | None = None,
) -> nn.Module:
    """Swap every replaceable norm of ``model``, in place, and return the model.

    Args:
        model: any module, on any device, the meta device included. If it is itself a norm, the
            layer that replaces it is returned.
        to: "dyt", "derf", or a class built as `DynamicTanh` is.
        include: glob patterns of qualified names; only these are swapped. None means all.
        exclude: glob patterns of qualified names to leave alone.
        alpha_init_value: alpha at the start, one for all or by site; None for the layer's own
            default.

    Each new layer has the old one's shape, layout, device, dtype, training mode and
    ``requires_grad``, and a weight and a bias only where the old one had them. They start at
    ones and zeros as published, except that a PyTorch norm (or a class derived from one) hands
    on its values, so that norms meant to start elsewhere still do. A module shared by several
    parents is replaced by one shared layer. Hooks on the old norm are dropped with it.

    Raises:
        ValueError: unknown ``to``, or a pattern that matches no replaceable norm of the model.
    """
    replacement = _replacement(to)
    for site in select(model, include=include, exclude=exclude):
        model = _swap(model, site, _build(site, replacement, alpha_init_value))
    return model


def convert_ln_to_dyt(model: nn.Module) -> nn.Module:
    """Swap every `torch.nn.LayerNorm` for `DynamicTanh`, as the published function does.

    Other norms (RMSNorm, whatever a library calls its own) stay; `convert` takes them all.
    """
    for site in audit(model):
        if site.reason is None and isinstance(site.module, nn.LayerNorm):
            model = _swap(model, site, _build(site, DynamicTanh, None))
    return model


def _site(module: nn.Module, names: tuple[str, ...]) -> NormSite | None:
    """The module as a norm site, or None if it is no norm."""
    weight = getattr(module, "weight", None)
    declared = getattr(module, "normalized_shape", None)
    shape = tuple(declared or (weight.shape if isinstance(weight, Tensor) else ()))
    channels_last = not (
        type(module).__name__.endswith("2d")
        or getattr(module, "data_format", None) == "channels_first"
    )

    def site(reason: str | None = None) -> NormSite:
        return NormSite(names, module, shape, channels_last, reason)

    if isinstance(module, _BatchNorm | _InstanceNorm | nn.GroupNorm):
        return site(f"{type(module).__name__} averages over more than the features")
    # Norms of the models' own making are known by name: they share no base class.
    name = type(module).__name__.lower()
    called_norm = name.removesuffix("2d").endswith(("layernorm", "rmsnorm"))
    if not isinstance(module, nn.LayerNorm | nn.RMSNorm) and not called_norm:
        return None
    if any(True for _ in module.children()):
        # A container called *LayerNorm holds its norm as a child; that child is the site. One
        # with a weight of its own does more than normalize.
        return None if weight is None else site("does more than normalize: it has submodules")
    if not shape:
        return site("its number of features cannot be told: no weight, no normalized_shape")
    if isinstance(weight, Tensor) and tuple(weight.shape) != shape:
        return site(f"weight of shape {tuple(weight.shape)} for normalized_shape {shape}")
    return site()


def _replacement(to: str | Replacement) -> Replacement:
    if not isinstance(to, str):
        return to
    try:
        return REPLACEMENTS[to]
    except KeyError:
        known = ", ".join(map(repr, REPLACEMENTS))
        raise ValueError(f"to must be one of {known}, or a class; got {to!r}") from None


def _matches(site: NormSite, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in site.names for pattern in patterns)


def _build(
    site: NormSite,
    replacement: Replacement,
    alpha_init_value: float | Callable[[NormSite], float] | None,
) -> nn.Module:
    # A norm without parameters has no device or dtype: the new layer takes the defaults.
    like = {} if site.weight is None else {"device": site.weight.device, "dtype": site.weight.dtype}
    alpha = alpha_init_value(site) if callable(alpha_init_value) else alpha_init_value
    new = replacement(
        site.normalized_shape,
        **({} if alpha is None else {"alpha_init_value": alpha}),
        elementwise_affine=site.weight is not None,
        bias=site.bias is not None,
        channels_last=site.channels_last,
        **like,
    )
    # Elsewhere a weight may mean something else (Gemma's is an offset from one).
    known_meaning = isinstance(site.module, nn.LayerNorm | nn.RMSNorm)
    for name, old in (("weight", site.weight), ("bias", site.bias)):
        if old is not None:
            fresh = new.get_parameter(name).requires_grad_(old.requires_grad)
            if known_meaning:
                fresh.data.copy_(old.data)
    return new.train(site.module.training)


def _swap(model: nn.Module, site: NormSite, new: nn.Module) -> nn.Module:
    """Put ``new`` wherever the site's module stands; returns the (possibly new) root."""
    for name in site.names:
        if not name:
            return new
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, new)
    return model
