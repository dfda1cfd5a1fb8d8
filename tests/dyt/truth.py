"""The family by its definitions, in 40 digits: what formulas and kernels should return."""

import math
from functools import cache

import torch
from mpmath import mp


def _decay(a):
    """e^-a; 0 where double precision has nothing smaller, as its digits would take long."""
    return mp.exp(-a) if a < 1000 else mp.zero


def _tanh(a):
    e = _decay(2 * a)
    return mp.tanh(a), 4 * e / (1 + e) ** 2


def _erf(a):
    return mp.erf(a), 2 / mp.sqrt(mp.pi) * _decay(a**2)


def _relsign(a):
    root = mp.sqrt(1 + a**2)
    return a / (1 + root), 1 / (root * (1 + root))


def _expsign(a):
    return -mp.expm1(-a) if a < 1000 else 1, _decay(a)


def _exproot(a):
    root = mp.sqrt(a)
    return _expsign(root)[0], _decay(root) / (2 * root) if a else 0


def _saturlog(a):
    log = mp.log1p(a)
    return log / (1 + log), 1 / ((1 + a) * (1 + log) ** 2)


def _power23_clip(a):
    third = mp.cbrt(a)
    return (third**2, 2 / (3 * third) if a else 0) if a <= 1 else (1, 0)


def _logquad_clip(a):
    return (mp.log1p(a**2), 2 * a / (1 + a**2)) if a <= mp.sqrt(mp.e - 1) else (1, 0)


# f and f' for a >= 0: arXiv 2512.10938, section 3. By convention the slopes of exproot and
# power23-clip are 0 at 0, and those of hardtanh and power23-clip at 1 are the ones from below.
_DEFINITIONS = {
    "tanh": _tanh,
    "erf": _erf,
    "arctan": lambda a: (2 / mp.pi * mp.atan(a), 2 / mp.pi / (1 + a**2)),
    "isru": lambda a: (a / mp.sqrt(1 + a**2), mp.sqrt(1 + a**2) ** -3),
    "satursin": lambda a: (mp.sin(a), mp.cos(a)) if a < mp.pi / 2 else (1, 0),
    "softsign": lambda a: (a / (1 + a), (1 + a) ** -2),
    "relsign": _relsign,
    "expsign": _expsign,
    "exproot": _exproot,
    "cubsign": lambda a: (a**3 / (1 + a**3), 3 * a**2 / (1 + a**3) ** 2),
    "saturlog": _saturlog,
    "hardtanh": lambda a: (a, 1) if a <= 1 else (1, 0),
    "power23-clip": _power23_clip,
    "logsign-clip": lambda a: (mp.log1p(a), 1 / (1 + a)) if a <= mp.e - 1 else (1, 0),
    "logquad-clip": _logquad_clip,
}


@cache
def _at(name, a):
    with mp.workdps(40):
        f, df = (1, 0) if math.isinf(a) else _DEFINITIONS[name](mp.mpf(a))
        return float(f), float(df)


def by_definition(name, z):
    """f and f' at z, in double precision; at infinity their limits."""
    found = [_at(name, abs(value)) for value in z.double().flatten().tolist()]
    f, df = torch.tensor(found, dtype=torch.float64).unbind(-1)
    return f.copysign(z.flatten().double()).view(z.shape), df.view(z.shape)


def everywhere(dtype):
    """Numbers of either sign: every power of two of the type, between, around the bends; +-inf."""
    limits = torch.finfo(dtype)
    smallest = limits.smallest_normal * limits.eps
    powers = range(round(math.log2(smallest)), math.ceil(math.log2(limits.max)))
    if dtype == torch.float64:
        powers = [p for p in powers if p % 16 == 0 or abs(p) < 32]
    magnitudes = [m * 2.0**p for p in powers for m in (1, 1.37, 1.99)]
    logs = [math.e - 1, math.sqrt(math.e - 1)]
    bends = torch.tensor([1, math.pi / 2, 3.9, 8.6, 9.2, *logs], dtype=dtype)
    around = [bends, *(bends.nextafter(torch.tensor(to, dtype=dtype)) for to in (0, math.inf))]
    a = torch.cat(
        [
            torch.tensor([0, *magnitudes, limits.max, math.inf], dtype=dtype),
            torch.linspace(0.013, 10, 150).to(dtype),
            *around,
        ]
    )
    return torch.cat([a, -a])


SPREADS = ("std 1000", "up to 1e30")


def far_out(spread):
    """x of which most saturates f, and dy of x's sign: the terms of dalpha do not cancel."""
    torch.manual_seed(0)
    x = torch.randn(4096, 256)
    # The second evenly over the exponents.
    x = 1000 * x if spread == "std 1000" else x.sign() * 10 ** (33 * torch.rand_like(x) - 3)
    return x, x.sign() * (1 + torch.rand_like(x))
