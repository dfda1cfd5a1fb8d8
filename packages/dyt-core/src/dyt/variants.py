"""The variants by name: every layer that can stand where a norm stood.

Each is called as `dyt.DynamicTanh` is; those in `WITHOUT_ALPHA` take no ``alpha_init_value``. A
`dyt.rivals.Method` among them brings a recipe, which changes other modules too.

What a class declares of its layers, so that converting, saving and training them needs no list of
classes:

- ``OPTIONS``: its constructor's own arguments, each kept in an attribute of that name; a subclass
  may settle some of them;
- ``NO_DECAY``: the parameters that `dyt.no_decay` lists;
- ``AVERAGES``: whether the shape decides what is averaged over, so that a layer for another shape
  computes something else.
"""

from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from types import MappingProxyType

from torch import nn

from dyt.layers import DynamicErf, DynamicISRU, DynamicTanh, PointwiseNorm
from dyt.norms import BHyT, LayerNorm, RMSNorm, SeeDNorm, TaperNorm
from dyt.rivals import ScalarShift, fixup, flashnorm, sigma_reparam, skipinit, tapernorm

__all__ = ["LAYERS", "VARIANTS", "WITHOUT_ALPHA", "Build", "LayerNorm", "RMSNorm"]

# (normalized_shape, alpha_init_value=, elementwise_affine=, bias=, channels_last=, device=,
# dtype=) -> the layer; see `dyt.DynamicTanh`.
Build = Callable[..., nn.Module]

arctan = partial(PointwiseNorm, function="arctan", shift_init_value=0.0)
isru = partial(PointwiseNorm, function="isru", shift_init_value=0.0)
satursin = partial(PointwiseNorm, function="satursin", shift_init_value=0.0)
softsign = partial(PointwiseNorm, function="softsign", shift_init_value=0.0)
relsign = partial(PointwiseNorm, function="relsign", shift_init_value=0.0)
expsign = partial(PointwiseNorm, function="expsign", shift_init_value=0.0)
exproot = partial(PointwiseNorm, function="exproot", shift_init_value=0.0)
cubsign = partial(PointwiseNorm, function="cubsign", shift_init_value=0.0)
saturlog = partial(PointwiseNorm, function="saturlog", shift_init_value=0.0)
hardtanh = partial(PointwiseNorm, function="hardtanh", shift_init_value=0.0)
power23_clip = partial(PointwiseNorm, function="power23-clip", shift_init_value=0.0)
logsign_clip = partial(PointwiseNorm, function="logsign-clip", shift_init_value=0.0)
logquad_clip = partial(PointwiseNorm, function="logquad-clip", shift_init_value=0.0)

VARIANTS: Mapping[str, Build] = MappingProxyType(
    {
        "dyt": DynamicTanh,
        "derf": DynamicErf,
        "tanh": DynamicTanh,
        "erf": DynamicErf,
        "arctan": arctan,
        "isru": isru,
        "satursin": satursin,
        "softsign": softsign,
        "relsign": relsign,
        "expsign": expsign,
        "exproot": exproot,
        "cubsign": cubsign,
        "saturlog": saturlog,
        "hardtanh": hardtanh,
        "power23-clip": power23_clip,
        "logsign-clip": logsign_clip,
        "logquad-clip": logquad_clip,
        "dyisru": DynamicISRU,
        "layernorm": LayerNorm,
        "rmsnorm": RMSNorm,
        "seednorm": SeeDNorm,
        "bhyt": BHyT,
        "tapernorm": tapernorm,
        "flashnorm": flashnorm,
        "fixup": fixup,
        "skipinit": skipinit,
        "sigma-reparam": sigma_reparam,
        "identity": nn.Identity,
    }
)
WITHOUT_ALPHA: tuple[Build, ...] = tuple(
    build for build in VARIANTS.values() if "alpha_init_value" not in signature(build).parameters
)
# The classes of the layers by name, as `dyt.save` writes them.
LAYERS: Mapping[str, type[nn.Module]] = MappingProxyType(
    {
        cls.__name__: cls
        for cls in (
            DynamicTanh,
            DynamicErf,
            PointwiseNorm,
            DynamicISRU,
            LayerNorm,
            RMSNorm,
            SeeDNorm,
            BHyT,
            TaperNorm,
            ScalarShift,
            nn.Identity,
        )
    }
)
