"""Least squares between a layer and the norm that it replaces, from inputs that come in parts."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dyt._audit.sites import NormSite
from dyt._sharded import put, whole
from dyt.functions import lookup
from dyt.layers import PointwiseNorm

CHUNK = 2**20  # values that are fp64 at a time


class LeastSquares:
    """The fit of one layer: the sums that it needs, for each choice of alpha; no inputs are kept.

    Args:
        layer: whose alpha, weight and bias are set.
        site: the norm that it replaces.
        choices: of alpha, each to be divided by the scale of the input (see `_scale`).
        pooled: one slope and offset for all channels; else one each.
    """

    def __init__(
        self, layer: PointwiseNorm, site: NormSite, choices: Sequence[float], *, pooled: bool
    ) -> None:
        self.layer, self.site, self.pooled = layer, site, pooled
        self.choices = torch.tensor(choices, dtype=torch.float64)
        self.alphas: Tensor | None = None
        self.axes = site.axes if site.channels_last else (-1,)  # of rows, see `inputs`
        self.rows = 0
        self.squares = 0.0  # of the input
        self.divisors = 0  # how many numbers the norm divided by: one a row, or one a head
        self.divided = self.divided_squares = 0.0  # their sum, and that of their squares
        self.t = self.tt = self.f = self.ff = self.ft = torch.zeros(())
        self.r2 = math.nan  # against the norm without its weight and bias

    @property
    def rms(self) -> float:
        """Root mean square of the input."""
        return math.sqrt(self.squares / max(1, self.rows * self.t.numel()))

    @property
    def spread(self) -> float:
        """Standard deviation over mean of the numbers that the norm divides by."""
        mean, square = (v / max(1, self.divisors) for v in (self.divided, self.divided_squares))
        return math.sqrt(max(0.0, square / mean**2 - 1)) if mean else 0.0

    def add(self, rows: Tensor) -> None:
        """Add inputs ``[rows, *features]``, at least one, and fit the layer to all so far."""
        squares = mean_squares(rows)
        if not self.squares:
            # The first inputs alone set the scale: the choices of alpha are close to each other.
            # At inputs of 0 no choice matters.
            self.alphas = self.choices.to(rows.device) / (self._scale(squares) or 1.0)
        self.squares += squares.sum().item() * rows[0].numel()
        self.rows += len(rows)
        for part in _parts(rows):
            self._add(part.double())
        self._solve()

    def _scale(self, squares: Tensor) -> float:
        """What alpha is relative to: the input's rms; channel by channel, that of its median row.

        Trained models have a few huge rows. They saturate at every alpha that suits the others.
        """
        typical = squares.mean() if self.pooled else squares.median()
        return math.sqrt(typical.item() or squares.mean().item())

    def _add(self, x: Tensor) -> None:
        assert self.alphas is not None
        target, divisor = _normalized(self.site.kind, x, self.axes, self.site.eps or 0.0)
        self.divisors += divisor.numel()
        self.divided += divisor.sum().item()
        self.divided_squares += divisor.square().sum().item()
        x, target = x.flatten(1), target.flatten(1)
        self.t = self.t.to(x) + target.sum(0)
        self.tt = self.tt.to(x) + target.square().sum(0)
        function = lookup(self.layer.function).f
        shift = 0.0 if self.layer.shift is None else whole(self.layer.shift).double()
        f, ff, ft = [], [], []
        for alpha in self.alphas:
            value = function(alpha * x + shift)
            f.append(value.sum(0))
            ff.append(value.square().sum(0))
            ft.append((value * target).sum(0))
        self.f = self.f.to(x) + torch.stack(f)
        self.ff = self.ff.to(x) + torch.stack(ff)
        self.ft = self.ft.to(x) + torch.stack(ft)

    def _solve(self) -> None:
        """Set the layer's parameters."""
        layer = self.layer
        assert self.alphas is not None
        slope, offset = self._line()
        # sum (slope f + offset - t)^2, multiplied out
        error = (
            slope.square() * self.ff + 2 * slope * offset * self.f + self.rows * offset.square()
            - 2 * slope * self.ft - 2 * offset * self.t + self.tt
        ).sum(1)  # fmt: skip
        best = int(error.argmin())
        put(layer.alpha, self.alphas[best].expand_as(layer.alpha))
        gamma, beta = self.site.gamma, self.site.bias
        if layer.weight is not None:
            unit = torch.ones_like(self.t) if gamma is None else whole(gamma).double().flatten()
            put(layer.weight, (slope[best] * unit.to(slope)).view(layer.weight.shape))
            if layer.bias is not None:
                start = 0.0 if beta is None else whole(beta).detach().double().flatten().to(slope)
                put(layer.bias, (offset[best] * unit.to(slope) + start).view(layer.bias.shape))
        total = (self.tt - self.t.square() / self.rows).sum()
        self.r2 = float(1 - error[best] / total) if total else math.nan

    def _line(self) -> tuple[Tensor, Tensor]:
        """Slope and offset of least squares, [choices, channels]; pooled: one for all channels.

        Only those for which the layer has parameters: no offset without a bias, no slope without a
        weight.
        """
        n, f, ff, ft, t = self.rows, self.f, self.ff, self.ft, self.t
        if self.pooled:
            n *= t.numel()
            f, ff, ft, t = (v.sum(-1, keepdim=True) for v in (f, ff, ft, t))
        if self.layer.weight is None:
            return torch.ones_like(f), torch.zeros_like(f)
        if self.layer.bias is None:
            return _slope(ft, ff, ff), torch.zeros_like(f)
        slope = _slope(ft - f * t / n, ff - f.square() / n, ff)
        return slope, (t - slope * f) / n


def mean_squares(rows: Tensor) -> Tensor:
    """Of each row, in fp64, without an fp64 copy of the whole."""
    return torch.cat([part.double().flatten(1).square().mean(1) for part in _parts(rows)])


def _parts(rows: Tensor) -> tuple[Tensor, ...]:
    return torch.split(rows, max(1, CHUNK * len(rows) // max(1, rows.numel())))


def _slope(products: Tensor, squares: Tensor, of: Tensor) -> Tensor:
    """products / squares; 1 where squares is negligible beside ``of``, that is, f did not vary."""
    return torch.where(squares > 1e-12 * of, products / squares, 1.0)


def _normalized(kind: str, x: Tensor, axes: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor]:
    """The norm of x, without weight and bias, and what it divided by."""
    centred = x if kind == "rms" else x - x.mean(axes, keepdim=True)
    divisor = (centred.square().mean(axes, keepdim=True) + eps).sqrt()
    return (x if kind == "std" else centred) / divisor, divisor
