"""The formulas of norms, and what a module is that computes one of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations

from torch import Tensor

from dyt._audit.sites import Kind


@dataclass(frozen=True)
class Behaviour:
    """What a norm computes; the fields are `dyt.NormSite`'s."""

    kind: Kind
    normalized_shape: tuple[int, ...] = ()
    channels_last: bool = True
    axes: tuple[int, ...] = (-1,)
    reason: str | None = None
    weight_name: str | None = None
    bias_name: str | None = None
    weight_offset: float = 0.0
    activation: tuple[str, ...] = ()


UNIT_LENGTH = "scales its input to unit length, not to unit variance"


def _rms(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return x / x.square().mean(axes, keepdim=True).sqrt()


def _std(x: Tensor, axes: tuple[int, ...], unbiased: bool = False) -> Tensor:
    return x / x.var(axes, keepdim=True, unbiased=unbiased).sqrt()


def _centred(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return x - x.mean(axes, keepdim=True)


NORMALIZE: tuple[tuple[Kind, Callable[[Tensor, tuple[int, ...]], Tensor]], ...] = (
    ("layer", lambda x, axes: _std(_centred(x, axes), axes)),
    ("rms", _rms),
    ("std", _std),
    ("layer", lambda x, axes: _std(_centred(x, axes), axes, unbiased=True)),
    ("other", lambda x, axes: x / x.square().sum(axes, keepdim=True).sqrt()),
)


def affine(names: list[str]) -> Iterator[tuple[str | None, str | None]]:
    """(weight, bias): which parameter is the factor and which is the term."""
    if not names:
        yield None, None
    elif len(names) == 1:
        yield names[0], None
        yield None, names[0]
    else:
        yield from permutations(names, 2)
