"""tanh and erf in few of PyTorch's operators, for what Inductor compiles for a CPU.

Inductor calls a library's function for them, which takes longer than a whole LayerNorm. Going
forward, the rational functions of ``cpu/functions.h`` take their place, with one division. Going
backward, an absolute error of a rounding of 1 does not matter: tanh is made of an exponential
there, which is shorter, and takes half of the time to compile.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Of = Callable[[Tensor], Tensor]


class Formulas(NamedTuple):
    """A function of fp32, and what its gradients are made of."""

    f: Of  # within 5 units in the last place, erf within 7
    again: Of  # the same in backward, within 2^-22
    df: Of


def _tanh(z: Tensor) -> Tensor:
    """Through tanh(z / 2)."""
    c = z.clamp(-8.6, 8.6)
    u = c * c
    n = c + c * u * _polynomial(u, 0.0297909584, 0.000114637769)
    return _doubled(n, _polynomial(u, 1.0, 0.113124341, 0.00120836019, 1.23742882e-06))


def _tanh_again(z: Tensor) -> Tensor:
    e = torch.exp(-2 * z.abs())
    return torch.copysign((1 - e) / (1 + e), z)


def _d_tanh(z: Tensor) -> Tensor:
    e = torch.exp(-2 * z.abs())
    return 4 * e / (1 + e).square()


def _erf(z: Tensor) -> Tensor:
    """Through erf(z) / (1 + sqrt(1 - erf(z)^2))."""
    c = z.clamp(-3.827, 3.827)
    u = c * c
    n = c * _polynomial(u, 1.12837923, 0.296989441, 0.0322475731, 0.00253555900)
    q = _polynomial(u, 1.0, 0.278224647, 0.0484198742, 0.00603794679, 9.87119638e-05)
    return _doubled(n, q)


def _d_erf(z: Tensor) -> Tensor:
    return 2 / math.sqrt(math.pi) * torch.exp(-z.square())


FORMULAS = {"tanh": Formulas(_tanh, _tanh_again, _d_tanh), "erf": Formulas(_erf, _erf, _d_erf)}


def _polynomial(u: Tensor, *coefficients: float) -> Tensor:
    """Horner's scheme; the constant first."""
    *lower, second, highest = coefficients
    result = highest * u + second
    for coefficient in reversed(lower):
        result = result * u + coefficient
    return result


def _doubled(n: Tensor, q: Tensor) -> Tensor:
    """2 h / (1 + h^2) of h = n / (2 q), with one division."""
    return n * q / (q * q + n * (n * 0.25))
