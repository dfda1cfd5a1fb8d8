"""The point-wise functions f of the layers: one table, which defines them for all backends.

Each entry is an odd function of one variable, with its derivative written out, so that a fused
kernel can be compared with both. The formulas follow "Stronger Normalization-Free Transformers"
(arXiv 2512.10938, section 3), which compares them all; tanh is from "Transformers without
Normalization" (arXiv 2503.10622).

To add a function to the family, add its entry here, and its name to `dyt.variants`. It then works
everywhere by the eager formula. For fused kernels add one entry to ``_kernels/cpu/functions.h``
and one to ``_kernels/triton/functions.py``.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

__all__ = ["FAMILY", "PointwiseFunction", "lookup", "register_function"]

DYT_PAPER = "arXiv 2503.10622"
DERF_PAPER = "arXiv 2512.10938"


@dataclass(frozen=True)
class PointwiseFunction:
    """An odd function of one variable: ``f``, its derivative ``df``, and its supremum."""

    name: str
    f: Callable[[Tensor], Tensor]
    df: Callable[[Tensor], Tensor]
    bound: float  # sup |f|: the largest value of the layer before weight and bias
    source: str


def _inside(z: Tensor) -> Tensor:
    """The derivative of a clipped identity: 1 within the bounds, else 0; NaN stays NaN, as in f."""
    return torch.where(z.isnan(), z, (z.abs() <= 1).to(z.dtype))


def _satursin(z: Tensor) -> Tensor:
    return torch.sin(z.clamp(-math.pi / 2, math.pi / 2))


def _d_satursin(z: Tensor) -> Tensor:
    return torch.cos(z.clamp(-math.pi / 2, math.pi / 2))


def _saturlog(z: Tensor) -> Tensor:
    log = torch.log1p(z.abs())
    return z.sign() * log / (1 + log)


def _d_saturlog(z: Tensor) -> Tensor:
    a = z.abs()
    return 1 / ((1 + a) * (1 + torch.log1p(a)).square())


def _relsign(z: Tensor) -> Tensor:
    return z / (1 + torch.sqrt(1 + z.square()))


def _d_relsign(z: Tensor) -> Tensor:
    root = torch.sqrt(1 + z.square())
    return 1 / (root * (1 + root))


# The slope of exproot is infinite at 0. There it is set to 0, as sign's is: an input of exactly 0
# would make the gradient, and so the whole model, NaN.


def _exproot(z: Tensor) -> Tensor:
    a = z.abs()
    root = torch.where(a == 0, 1, a).sqrt()
    return -z.sign() * torch.expm1(-root)


def _d_exproot(z: Tensor) -> Tensor:
    a = z.abs()
    root = torch.where(a == 0, 1, a).sqrt()
    return torch.where(a == 0, 0, torch.exp(-root) / (2 * root))


def _cubsign(z: Tensor) -> Tensor:
    # z^3 / (1 + |z|^3), on either side of 1 in a form that neither overflows nor divides by 0: with
    # one form for all z, autograd's gradient was NaN at 0.
    a = z.abs()
    is_small = a <= 1
    small, large = torch.where(is_small, a, 0), torch.where(is_small, 1, a)
    return torch.where(is_small, z * small.square() / (1 + small**3), z.sign() / (1 + large**-3))


def _d_cubsign(z: Tensor) -> Tensor:
    a = z.abs()
    return 3 / (1 / a + a.square()).square()


_TABLE = (
    PointwiseFunction("tanh", torch.tanh, lambda z: 1 - torch.tanh(z).square(), 1.0, DYT_PAPER),
    PointwiseFunction(
        "erf",
        torch.erf,
        lambda z: 2 / math.sqrt(math.pi) * torch.exp(-z.square()),
        1.0,
        DERF_PAPER,
    ),
    PointwiseFunction(
        "arctan",
        lambda z: 2 / math.pi * torch.atan(z),
        lambda z: 2 / math.pi / (1 + z.square()),
        1.0,
        DERF_PAPER,
    ),
    PointwiseFunction(
        "isru",
        lambda z: z * torch.rsqrt(1 + z.square()),
        lambda z: torch.rsqrt(1 + z.square()).pow(3),
        1.0,
        DERF_PAPER,
    ),
    PointwiseFunction("satursin", _satursin, _d_satursin, 1.0, DERF_PAPER),
    PointwiseFunction(
        "softsign",
        lambda z: z / (1 + z.abs()),
        lambda z: (1 + z.abs()).pow(-2),
        1.0,
        f"{DERF_PAPER}, there smoothsign",
    ),
    PointwiseFunction("relsign", _relsign, _d_relsign, 1.0, DERF_PAPER),
    PointwiseFunction(
        "expsign",
        lambda z: -z.sign() * torch.expm1(-z.abs()),
        lambda z: torch.exp(-z.abs()),
        1.0,
        DERF_PAPER,
    ),
    PointwiseFunction("exproot", _exproot, _d_exproot, 1.0, DERF_PAPER),
    PointwiseFunction("cubsign", _cubsign, _d_cubsign, 1.0, DERF_PAPER),
    PointwiseFunction("saturlog", _saturlog, _d_saturlog, 1.0, DERF_PAPER),
    PointwiseFunction("hardtanh", lambda z: z.clamp(-1, 1), _inside, 1.0, DERF_PAPER),
)

_family = {entry.name: entry for entry in _TABLE}
FAMILY: Mapping[str, PointwiseFunction] = MappingProxyType(_family)


def register_function(function: PointwiseFunction) -> PointwiseFunction:
    """Add a function to `FAMILY`, and return it: `dyt.PointwiseNorm` takes it by its name.

    The eager formula computes it, and `dyt.probe` and `dyt.calibrate` support it. A function
    without a supremum has the bound ``math.inf``: no input saturates it.

    Raises:
        ValueError: the family has another function of that name.

    Example:
        >>> import torch, dyt
        >>> symlog = dyt.PointwiseFunction(
        ...     "symlog",
        ...     f=lambda z: z.sign() * z.abs().log1p(),
        ...     df=lambda z: 1 / (1 + z.abs()),
        ...     bound=float("inf"),
        ...     source="DreamerV3, arXiv 2301.04104",
        ... )
        >>> _ = dyt.register_function(symlog)
        >>> layer = dyt.PointwiseNorm(8, function="symlog")
    """
    if _family.setdefault(function.name, function) is not function:
        raise ValueError(
            f"dyt.FAMILY has a function {function.name!r} already: choose another name"
        )
    return function


def lookup(name: str) -> PointwiseFunction:
    """The table's entry for ``name``.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    try:
        return FAMILY[name]
    except KeyError:
        known = ", ".join(FAMILY)
        raise ValueError(f"function must be one of {known}; got {name!r}") from None
