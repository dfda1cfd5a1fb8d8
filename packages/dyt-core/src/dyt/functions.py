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
from functools import cache
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

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


# ---- what keeps a formula and autograd's derivatives of it right for every z
#
# The square of a large z overflows; where two terms of a slope nearly cancel, no digit of it is
# left; |z| has no slope at 0; and autograd multiplies what is left out by 0, which is NaN where
# that is infinite. The helpers below exclude these, up to z = +-infinity. A NaN stays NaN, also in
# the slope: that of `clamp` is 0 there.

Half = Callable[[Tensor], Tensor]  # of a = |z|


def _odd(half: Half) -> Half:
    """The odd function that is ``half`` for z >= 0.

    By a factor that, unlike z.sign(), is not 0 at 0: autograd's slope would be 0 there.
    """

    def f(z: Tensor) -> Tensor:
        sign = torch.copysign(torch.ones_like(z), z.detach())
        return sign * half(sign * z)

    return f


def _even(half: Half) -> Half:
    return lambda z: half(z.abs())


def _at_least(z: Tensor, limit: float) -> Tensor:
    """The larger of both, with slope 0 up to the limit."""
    return functional.threshold(z, limit, limit)


def _at_most(z: Tensor, limit: float) -> Tensor:
    """The smaller of both, with slope 0 from the limit on."""
    return -_at_least(-z, -limit)


def _clip(z: Tensor, limit: float) -> Tensor:
    """z within +-limit, with slope 0 from there on."""
    return _at_most(_at_least(z, -limit), limit)


def _pieces(near: Half, far: Half) -> Half:
    """``near(a)`` for a <= 1, ``far(1 / a)`` above; neither gets an argument beyond 2."""

    def half(a: Tensor) -> Tensor:
        is_near = (a <= 1).to(a.dtype)
        inner, inverse = _at_most(a, 2), _at_least(a, 0.5).reciprocal()
        return is_near * near(inner) + (1 - is_near) * far(inverse)

    return half


# ---- the formulas and their derivatives

ERF_LIMIT = 28.0  # from here on erf is 1 and its slope 0, in double precision too


def _erf(z: Tensor) -> Tensor:
    return torch.erf(_clip(z, ERF_LIMIT))


def _d_erf(z: Tensor) -> Tensor:
    return 2 / math.sqrt(math.pi) * torch.exp(-_clip(z, ERF_LIMIT).square())


_arctan = _pieces(
    lambda a: 2 / math.pi * torch.atan(a),
    lambda t: 1 - 2 / math.pi * torch.atan(t),
)
_d_arctan = _pieces(
    lambda a: 2 / math.pi / (1 + a.square()),
    lambda t: 2 / math.pi * t.square() / (1 + t.square()),
)

_isru = _pieces(
    lambda a: a * torch.rsqrt(1 + a.square()),
    lambda t: torch.rsqrt(1 + t.square()),
)
_d_isru = _pieces(
    lambda a: torch.rsqrt(1 + a.square()).pow(3),
    lambda t: (t * torch.rsqrt(1 + t.square())).pow(3),
)


def _satursin(z: Tensor) -> Tensor:
    return torch.sin(_clip(z, math.pi / 2))


def _d_satursin(z: Tensor) -> Tensor:
    # The cosine of the float next to pi/2 is not 0.
    is_inside = (z.abs() < math.pi / 2).to(z.dtype)
    return is_inside * torch.cos(_clip(z, math.pi / 2))


_softsign = _pieces(lambda a: a / (1 + a), lambda t: 1 / (1 + t))
_d_softsign = _pieces(lambda a: (1 + a).pow(-2), lambda t: (t / (1 + t)).square())


def _d_relsign_far(t: Tensor) -> Tensor:
    root = torch.sqrt(1 + t.square())
    return t.square() / (root * (t + root))


def _d_relsign_near(a: Tensor) -> Tensor:
    root = torch.sqrt(1 + a.square())
    return 1 / (root * (1 + root))


_relsign = _pieces(
    lambda a: a / (1 + torch.sqrt(1 + a.square())),
    lambda t: 1 / (t + torch.sqrt(1 + t.square())),
)
_d_relsign = _pieces(_d_relsign_near, _d_relsign_far)


# The slope of exproot is infinite at 0. There it is set to 0, as sign's is: an input of exactly 0
# would make the gradient, and so the whole model, NaN.


def _exproot(a: Tensor) -> Tensor:
    root = torch.where(a == 0, 1, a).sqrt()
    return torch.where(a == 0, 0, -torch.expm1(-root))


def _d_exproot(a: Tensor) -> Tensor:
    root = torch.where(a == 0, 1, a).sqrt()
    return torch.where(a == 0, 0, torch.exp(-root) / (2 * root))


_cubsign = _pieces(
    lambda a: a.pow(3) / (1 + a.pow(3)),
    lambda t: 1 / (1 + t.pow(3)),
)
_d_cubsign = _pieces(
    lambda a: 3 * a.square() / (1 + a.pow(3)).square(),
    lambda t: 3 * t.pow(4) / (1 + t.pow(3)).square(),
)


def _saturlog(a: Tensor) -> Tensor:
    return _softsign(torch.log1p(a))


def _d_saturlog(a: Tensor) -> Tensor:
    return _d_softsign(torch.log1p(a)) / (1 + a)


# The clipped ones: 1 from some |z| on. A power or a logarithm there is not flat, so that the place
# decides between slopes: `_beyond` compares with the limit itself, not with what a dtype rounds
# it to.


def _clipped(half: Half, limit: float, beyond: float = 1.0) -> Half:
    """``half`` up to the limit, and the constant ``beyond`` after it."""
    return lambda a: torch.where(_beyond(a, limit), beyond, half(_at_most(a, 2)))


def _beyond(a: Tensor, limit: float) -> Tensor:
    if a.dtype == torch.float64:
        return a > limit
    return a.float() > _single_up_to(limit)


@cache
def _single_up_to(limit: float) -> float:
    """The largest float32 that is not above the limit."""
    single = torch.tensor(limit, dtype=torch.float32, device="cpu")
    below = single.nextafter(torch.zeros_like(single))
    return float(single) if float(single) <= limit else float(below)


def _power23(a: Tensor) -> Tensor:
    scaled, k = _within_8(a)
    return torch.where(a == 0, 0, (scaled.pow(2 / 3) * _power_of_2(2 * k, scaled)).to(a.dtype))


def _d_power23(a: Tensor) -> Tensor:
    # Infinite at 0, and set to 0 there, as exproot's.
    scaled, k = _within_8(a)
    slope = 2 / 3 * scaled.pow(-1 / 3) * _power_of_2(-k, scaled)
    return torch.where(a == 0, 0, slope.to(a.dtype))


def _within_8(a: Tensor) -> tuple[Tensor, Tensor]:
    """a / 8^k in [1/2, 8), and k; 0 becomes 1.

    2/3 is no binary number, so that a power of it is wrong by more, the farther a is from 1.
    """
    wide = torch.where(a == 0, 1, a).to(torch.promote_types(a.dtype, torch.float32))
    k = torch.frexp(wide.detach()).exponent.div(3, rounding_mode="floor")
    half = k.div(2, rounding_mode="floor")  # 8^-k itself may overflow
    return wide * _power_of_2(-3 * half, wide) * _power_of_2(-3 * (k - half), wide), k


def _power_of_2(exponent: Tensor, like: Tensor) -> Tensor:
    return torch.ldexp(torch.ones_like(like), exponent)


LOG_LIMIT = math.e - 1  # where ln(1 + |z|) is 1
LOG_SQUARE_LIMIT = math.sqrt(math.e - 1)  # where ln(1 + z^2) is 1


def _log_square(a: Tensor) -> Tensor:
    return torch.log1p(a.square())


def _d_log_square(a: Tensor) -> Tensor:
    return 2 * a / (1 + a.square())


def _hardtanh(z: Tensor) -> Tensor:
    is_inside = _d_hardtanh(z.detach())
    return is_inside * _clip(z, 2) + (1 - is_inside) * z.sign()


def _d_hardtanh(z: Tensor) -> Tensor:
    return (z.abs() <= 1).to(z.dtype) + 0 * _clip(z, 2)  # the second term is 0, or NaN as z is


_TABLE = (
    PointwiseFunction("tanh", torch.tanh, lambda z: 1 - torch.tanh(z).square(), 1.0, DYT_PAPER),
    PointwiseFunction("erf", _erf, _d_erf, 1.0, DERF_PAPER),
    PointwiseFunction("arctan", _odd(_arctan), _even(_d_arctan), 1.0, DERF_PAPER),
    PointwiseFunction("isru", _odd(_isru), _even(_d_isru), 1.0, DERF_PAPER),
    PointwiseFunction("satursin", _satursin, _d_satursin, 1.0, DERF_PAPER),
    PointwiseFunction(
        "softsign",
        _odd(_softsign),
        _even(_d_softsign),
        1.0,
        f"{DERF_PAPER}, there smoothsign, and smoothsign_clip, which clips nothing",
    ),
    PointwiseFunction("relsign", _odd(_relsign), _even(_d_relsign), 1.0, DERF_PAPER),
    PointwiseFunction(
        "expsign",
        _odd(lambda a: -torch.expm1(-a)),
        _even(lambda a: torch.exp(-a)),
        1.0,
        DERF_PAPER,
    ),
    PointwiseFunction("exproot", _odd(_exproot), _even(_d_exproot), 1.0, DERF_PAPER),
    PointwiseFunction("cubsign", _odd(_cubsign), _even(_d_cubsign), 1.0, DERF_PAPER),
    PointwiseFunction("saturlog", _odd(_saturlog), _even(_d_saturlog), 1.0, DERF_PAPER),
    PointwiseFunction("hardtanh", _hardtanh, _d_hardtanh, 1.0, f"{DERF_PAPER}, there linear_clip"),
    PointwiseFunction(
        "power23-clip",
        _odd(_clipped(_power23, 1)),
        _even(_clipped(_d_power23, 1, 0.0)),
        1.0,
        DERF_PAPER,
    ),
    PointwiseFunction(
        "logsign-clip",
        _odd(_clipped(torch.log1p, LOG_LIMIT)),
        _even(_clipped(lambda a: 1 / (1 + a), LOG_LIMIT, 0.0)),
        1.0,
        DERF_PAPER,
    ),
    PointwiseFunction(
        "logquad-clip",
        _odd(_clipped(_log_square, LOG_SQUARE_LIMIT)),
        _even(_clipped(_d_log_square, LOG_SQUARE_LIMIT, 0.0)),
        1.0,
        DERF_PAPER,
    ),
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
