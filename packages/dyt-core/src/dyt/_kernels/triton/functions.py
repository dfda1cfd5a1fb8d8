"""The functions of the Triton kernels, f and f' together: one entry of `FUNCTIONS` each.

An entry writes ``f(z) = a * u + b`` and ``f'(z) = d * v`` with two expressions u and v of
``scale * z``. The constants then fold into per-column registers outside the loop:
``y = u * (a * weight) + (b * weight + bias)`` is one fused multiply-add.

The interpreter can run every expression: no libdevice, and the one line of assembly has a plain
twin. Polynomials are minimax fits of the relative error on the named interval, with their error
in units of 2^-24 in brackets.
"""

# Triton's decorator and its tensors have no types that mypy could check a kernel with.
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,misc"

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
HALF_PI = tl.constexpr(1.5707963267948966)


@triton.jit
def _reciprocal(d, PTX: tl.constexpr):
    """1 / d for d >= 1, to one unit in the last place.

    Division guards against a reciprocal outside the normal range at four instructions an
    element, half of what all the rest of the forward pass takes; from 1 up there is none.
    """
    if PTX:
        r = tl.inline_asm_elementwise(
            "rcp.approx.ftz.f32 $0, $1;", "=f,f", [d], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        r = 1.0 / d
    return r


@triton.jit
def _tanh(z, PTX: tl.constexpr):
    """At most 4 ulp: odd polynomial below 0.62 (1.9), above it 1 - 2 / (1 + e^2|z|).

    A GPU's exponential and reciprocal may be off by 2^-22 and 2^-23. Where the pieces meet that
    costs most: 3.9 ulp at 0.62, 4.2 at 0.55 with a polynomial that is closer (0.6).
    """
    square = z * z
    p = square * 0.015278990094662746 - 0.052002525910953626
    p = p * square + 0.13309230907230168
    p = p * square - 0.33332397739419206
    near = (p * square) * z + z
    magnitude = tl.abs(z)
    far = 1.0 - 2.0 * _reciprocal(1.0 + tl.exp2(magnitude * (2.0 * LOG2_E)), PTX)
    return tl.where(magnitude < 0.62, near, tl.where(z < 0, -far, far))


@triton.jit
def _erf(z, PTX: tl.constexpr):
    """Odd polynomial below 0.9 (0.2); above it 1 - 2^Q(|z|), Q fitted to log2(erfc) (0.5).

    Q decreases without end, so that large arguments and infinities saturate without a clamp.
    """
    square = z * z
    p = square * -0.0006090385115199805 + 0.005011968455902573
    p = p * square - 0.026778913520469447
    p = p * square + 0.11282140976907692
    p = p * square - 0.3761252330044288
    p = p * square + 0.12837915380732  # the constant term less one
    near = p * z + z
    a = tl.abs(z)
    q = a * -0.001819795550049613 + 0.022581901119928798
    q = q * a - 0.13175099891794817
    q = q * a - 0.938406360872401
    q = q * a - 1.6163924147038236
    q = q * a - 0.0026289579426904026
    far = 1.0 - tl.exp2(q)
    return tl.where(a < 0.9, near, tl.where(z < 0, -far, far))


@triton.jit
def _arctan(z, PTX: tl.constexpr):
    """Polynomial on [0, 1] (0.3); above 1, pi/2 less that of the inverse."""
    magnitude = tl.abs(z)
    large = magnitude > 1.0
    a = tl.where(large, _reciprocal(magnitude, PTX), magnitude)
    s = a * a
    p = s * 0.002849935323240194 - 0.016068822933384137
    p = p * s + 0.042691858183350015
    p = p * s - 0.07504325949182913
    p = p * s + 0.10640950597669428
    p = p * s - 0.14203649423660222
    p = p * s + 0.1999262017731394
    p = p * s - 0.33333073400883767
    p = (p * s) * a + a
    p = tl.where(large, HALF_PI - p, p)
    return tl.where(z < 0, -p, p)


@triton.jit
def _clip(z, bound: tl.constexpr):
    """z clipped to +-bound; NaN stays. On sm_90 and later one instruction."""
    return tl.clamp(z, -bound, bound, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _sin(c):
    """On [-pi/2, pi/2] (0.1)."""
    s = c * c
    p = s * 2.6019056555230305e-06 - 0.0001980742019899059
    p = p * s + 0.008333025167078336
    p = p * s - 0.1666665668602029
    return (p * s) * c + c


@triton.jit
def _cos(c):
    """On [-pi/2, pi/2], absolute error below 2^-24."""
    s = c * c
    p = s * -2.6051512668844975e-07 + 2.476016253547456e-05
    p = p * s - 0.0013888361429425674
    p = p * s + 0.04166663626121304
    p = p * s - 0.49999999358610125
    return p * s + 1.0


@triton.jit
def _tanh_approximate(z, PTX: tl.constexpr):
    """NVIDIA's instruction from sm_75 on: a relative error of at most 2^-10.98, in one step.

    Source: NVIDIA's PTX ISA, "tanh".
    """
    if PTX:
        u = tl.inline_asm_elementwise(
            "tanh.approx.f32 $0, $1;", "=f,f", [z], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        u = _tanh(z, PTX)
    return u


@triton.jit
def _tanh_slope(z, u, PTX: tl.constexpr):
    return 1.0 - u * u


@triton.jit
def _sigmoid(z, PTX: tl.constexpr):
    """1 / (1 + 2^z): tanh is 1 - 2 of it, accurate enough for results of 16 bits."""
    return _reciprocal(1.0 + tl.exp2(z), PTX)


@triton.jit
def _sigmoid_slope(z, u, PTX: tl.constexpr):
    return u - u * u


@triton.jit
def _erf_slope(z, u, PTX: tl.constexpr):
    return tl.exp2((z * z) * -LOG2_E)


@triton.jit
def _isru(z, PTX: tl.constexpr):
    """At the clip, where squares do not overflow yet, f is 1 and f' rounds to 0."""
    c = _clip(z, 2.0**63)
    return c * tl.rsqrt(1.0 + c * c)


@triton.jit
def _isru_slope(z, u, PTX: tl.constexpr):
    c = _clip(z, 2.0**63)
    r = tl.rsqrt(1.0 + c * c)
    return r * r * r


@triton.jit
def _hardtanh(z, PTX: tl.constexpr):
    return _clip(z, 1.0)


@triton.jit
def _hardtanh_slope(z, u, PTX: tl.constexpr):
    return tl.where(tl.abs(z) <= 1.0, 1.0, tl.where(z == z, 0.0, z))


@triton.jit
def _arctan_slope(z, u, PTX: tl.constexpr):
    return _reciprocal(1.0 + z * z, PTX)


@triton.jit
def _satursin(z, PTX: tl.constexpr):
    return _sin(_clip(z, HALF_PI))


@triton.jit
def _satursin_slope(z, u, PTX: tl.constexpr):
    """Exactly 0 from the clip on, where a rest times large x would outweigh alpha's gradient."""
    return tl.where(tl.abs(z) >= HALF_PI, 0.0, _cos(z))


@triton.jit
def _softsign(z, PTX: tl.constexpr):
    """At the clip f is 1 and f' rounds to 0; the reciprocal is 0 from 2^126 on."""
    c = _clip(z, 2.0**80)
    return c * _reciprocal(1.0 + tl.abs(c), PTX)


@triton.jit
def _softsign_slope(z, u, PTX: tl.constexpr):
    r = _reciprocal(1.0 + tl.abs(_clip(z, 2.0**80)), PTX)
    return r * r


class Formula(NamedTuple):
    """``f(z) = a * u(scale * z) + b`` and ``f'(z) = d * v(scale * z, u)``."""

    u: Any  # compiled functions: (z, PTX) -> u and (z, u, PTX) -> v
    v: Any
    scale: float = 1.0
    a: float = 1.0
    b: float = 0.0
    d: float = 1.0


class Function(NamedTuple):
    """One function of `dyt.FAMILY`."""

    accurate: Formula
    short: Formula | None = None  # for results of 16 bits, where there is a shorter formula
    rough: Formula | None = None  # for results of bf16 going forward, where that was asked for
    # Programs of the backward pass that are resident on a multiprocessor; None: the usual number.
    resident: int | None = None

    def formula(self, accurate: bool, rough: bool = False) -> Formula:
        if rough and self.rough is not None:
            return self.rough
        return self.accurate if accurate or self.short is None else self.short


# On sm_100, which multiplies in pairs, each coefficient of erf and satursin takes two registers
# more: 104 in the backward pass.
FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        "tanh": Function(
            Formula(_tanh, _tanh_slope),
            Formula(_sigmoid, _sigmoid_slope, scale=2 / math.log(2), a=-2.0, b=1.0, d=4.0),
            rough=Formula(_tanh_approximate, _tanh_slope),
        ),
        "erf": Function(Formula(_erf, _erf_slope, d=2 / math.sqrt(math.pi)), resident=4),
        "isru": Function(Formula(_isru, _isru_slope)),
        "hardtanh": Function(Formula(_hardtanh, _hardtanh_slope)),
        "arctan": Function(Formula(_arctan, _arctan_slope, a=2 / math.pi, d=2 / math.pi)),
        "satursin": Function(Formula(_satursin, _satursin_slope), resident=4),
        "softsign": Function(Formula(_softsign, _softsign_slope)),
    }
)
