"""Fit the layers that `convert` put in to the norms that they replace, on a few batches.

Two uses of one mechanism. Before training, goal "start": each layer gets the alpha, and one scalar
each for weight and bias, with which it returns what the norm would have; and the embedding is
scaled so that the stream has unit variance. On a trained model, goal "norm": each layer gets the
alpha, weight and bias that are closest to its norm, channel by channel, so that the model survives
the swap and can be fine-tuned.

Layers are fitted from the model's input to its output, each after all layers before it. Each takes
one pass of the batches, which ends at that layer. Only sums are kept, no activations. A
layer-by-layer start from data is the idea of LSUV (arXiv 1511.06422).
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dyt._audit.audit import audit
from dyt._audit.sites import NormSite
from dyt._surgery.convert import original, put_in
from dyt.functions import lookup
from dyt.layers import PointwiseNorm, ScaledEmbedding

Goal = Literal["start", "norm"]
Run = Callable[[nn.Module, Any], object]

# alpha times the root mean square of a layer's input. One half is what DyT starts with where the
# input has unit variance: the function is nonlinear there, and hardly any value saturates.
START = 0.5
# The choices of a fit to a trained norm, from nearly linear to a step.
CHOICES = tuple(0.05 * 2 ** (k / 3) for k in range(21))


@dataclass(frozen=True)
class Fit:
    """How well one layer approximates its norm, on the batches that it was fitted to."""

    name: str
    alpha: float
    input_rms: float
    r2: float  # 1 - squared error / variance of the norm's output; 1 is perfect


@dataclass(frozen=True)
class Calibration:
    """The result of `calibrate`: the fits in the order in which the layers run."""

    fits: tuple[Fit, ...]
    embedding_scale: float | None  # magnitude of the factor of the embeddings; None: no factor

    @property
    def worst(self) -> Fit:
        """The fit with the lowest R2."""
        return min(self.fits, key=lambda fit: fit.r2)

    def __str__(self) -> str:
        lines = [f"{'layer':<44} {'alpha':>8} {'input rms':>10} {'R2':>7}"]
        lines += [f"{f.name:<44} {f.alpha:8.4f} {f.input_rms:10.4g} {f.r2:7.3f}" for f in self.fits]
        lines.append(f"worst: {self.worst.name}, R2 {self.worst.r2:.3f}")
        return "\n".join(lines)


def calibrate(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    goal: Goal = "norm",
    run: Run | None = None,
) -> Calibration:
    """Fit every layer that `convert` put into ``model``, in place; returns how well each fits.

    Args:
        model: a converted model, on a real device.
        batches: a few batches; all are kept, because each layer needs them. Goal "start" needs
            one.
        goal: "start", before training: ``alpha = 0.5 / rms(x)``, and for ``weight`` and ``bias``
            one scalar each, which best map f to the normalized input; embeddings get a factor
            that scales the stream to unit variance (see `ScaledEmbedding`). "norm", for a trained
            model: the alpha of 21 choices, and the weight and bias with the least squared error to
            the norm's output, channel by channel.
        run: how to run the model on a batch. By default a tensor is its argument, a tuple or
            list its arguments, a mapping its keyword arguments.

    Meanwhile the model is in eval mode and makes no gradients; the state of the random generator
    is restored. Sums are fp64. Equal batches give equal parameters.

    Raises:
        ValueError: an unknown goal; no batch; a model without layers put in by `convert`, or on
            the meta device; a layer that no batch reaches; a batch that does not fit the model.

    Example:
        >>> import torch, dyt
        >>> trained = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.LayerNorm(8))
        >>> model = dyt.convert(trained, "dyt")
        >>> fits = dyt.calibrate(model, [torch.randn(64, 8)])
        >>> fits.worst.r2 > 0.5
        True
    """
    if goal not in ("start", "norm"):
        raise ValueError(f'goal must be "start" or "norm", got {goal!r}')
    kept = list(batches)
    if not kept:
        raise ValueError("batches is empty: one is needed")
    layers = _layers(model)
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return _Calibrator(model, layers, kept, run or _call).calibrate(goal)
    finally:
        for module in training:
            module.training = True


def _layers(model: nn.Module) -> dict[PointwiseNorm, str]:
    layers = {module: name for name, module in model.named_modules() if _fits(module)}
    if not layers:
        raise ValueError(
            f"{type(model).__name__} has no layer that dyt.convert put in for a norm: convert it "
            "first"
        )
    if any(layer.alpha.is_meta for layer in layers):
        raise ValueError("the model is on the meta device and has no values to calibrate with")
    return layers


def _fits(module: nn.Module) -> bool:
    return isinstance(module, PointwiseNorm) and original(module) is not None


def _call(model: nn.Module, batch: Any) -> object:
    if isinstance(batch, dict):
        return model(**batch)
    return model(*batch) if isinstance(batch, tuple | list) else model(batch)


class _Reached(Exception):
    """Stops a pass at the layer that is being fitted."""


class _Calibrator:
    def __init__(
        self,
        model: nn.Module,
        layers: dict[PointwiseNorm, str],
        batches: Sequence[Any],
        run: Run,
    ) -> None:
        self.model, self.layers, self.batches, self.run = model, layers, batches, run

    def calibrate(self, goal: Goal) -> Calibration:
        calls = self._order()
        scale = self._scale_embedding(next(iter(calls))) if goal == "start" else None
        fits = [self._fit(layer, count, goal) for layer, count in calls.items()]
        return Calibration(tuple(fits), scale)

    def _order(self) -> dict[PointwiseNorm, int]:
        """The layers in the order in which they run, and how often each runs for one batch."""
        calls: dict[PointwiseNorm, int] = {}

        def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            assert isinstance(layer, PointwiseNorm)
            calls[layer] = calls.get(layer, 0) + 1

        handles = [layer.register_forward_pre_hook(note) for layer in self.layers]
        try:
            self.run(self.model, self.batches[0])
        except (TypeError, RuntimeError, IndexError) as error:
            raise ValueError(
                f"the first batch does not fit {type(self.model).__name__}: {error}"
            ) from error
        finally:
            for handle in handles:
                handle.remove()
        missed = [name for layer, name in self.layers.items() if layer not in calls]
        if missed:
            raise ValueError(f"the first batch does not reach {', '.join(missed)}")
        return calls

    def _see(self, layer: PointwiseNorm, count: int, look: Callable[[Tensor], None]) -> None:
        """Call ``look`` with every input of ``layer``: one pass of the batches up to the layer."""
        seen = 0

        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            nonlocal seen
            look(inputs[0])
            seen += 1
            if seen == count:
                raise _Reached

        handle = layer.register_forward_pre_hook(hook)
        try:
            for batch in self.batches:
                seen = 0
                with contextlib.suppress(_Reached):
                    self.run(self.model, batch)
        finally:
            handle.remove()

    def _fit(self, layer: PointwiseNorm, count: int, goal: Goal) -> Fit:
        norm = original(layer)
        assert norm is not None
        (site,) = audit(norm)
        sums = _Sums(layer, site, (START,) if goal == "start" and site.affine else CHOICES)
        self._see(layer, count, sums.add)
        best = sums.solve(goal)
        return Fit(self.layers[layer], layer.alpha.item(), sums.rms, best)

    def _scale_embedding(self, first: PointwiseNorm) -> float | None:
        """Scale the embeddings that start the stream so that it has unit variance at ``first``."""
        outputs: list[tuple[nn.Embedding, torch.Size]] = []

        def note(module: nn.Module, _: object, output: Tensor) -> None:
            assert isinstance(module, nn.Embedding)
            outputs.append((module, output.shape))

        embeddings = [m for m in self.model.modules() if isinstance(m, nn.Embedding)]
        handles = [embedding.register_forward_hook(note) for embedding in embeddings]
        squares = count = 0.0
        shape = torch.Size()

        def measure(x: Tensor) -> None:
            nonlocal squares, count, shape
            shape = x.shape
            squares += x.double().square().sum().item()
            count += x.numel()

        try:
            self._see(first, 1, measure)
        finally:
            for handle in handles:
                handle.remove()
        # Of tokens or positions, by the shape of the stream: not the embedding of a condition.
        starts = dict.fromkeys(m for m, made in outputs if made[-2:] == shape[-2:])
        if not starts or not squares:
            return None
        scale = math.sqrt(count / squares)
        for embedding in starts:
            if isinstance(embedding, ScaledEmbedding):
                embedding.scale.mul_(scale)
                continue
            factor = scale * _signs(embedding) if self._tied(embedding) else scale
            new = ScaledEmbedding(embedding, factor).train(embedding.training)
            put_in(self.model, {embedding: new})
        return scale

    def _tied(self, embedding: nn.Embedding) -> bool:
        """Whether something else, an output layer, computes with the embedding's weight too."""
        reads = _Reads(embedding.weight)
        with reads:
            self.run(self.model, self.batches[0])
        return reads.seen


class _Reads(TorchFunctionMode):
    """Detects whether anything but a look-up computes a tensor from ``weight``."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight, self.seen = weight, False

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        given = (*args, *(kwargs or {}).values())
        if any(one is self.weight for one in given) and func not in _LOOK_UPS:
            self.seen = self.seen or isinstance(made, Tensor)
        return made


_LOOK_UPS = (nn.functional.embedding, torch.embedding)


def _signs(embedding: nn.Embedding) -> Tensor:
    """1, -1, 1, ...: one for each channel.

    An output layer tied to the embedding reads from the stream what the embedding wrote: before
    training it predicts the present token. If embeddings start small, the branches dominate the
    stream and hide this. At unit variance training must undo it first, with branches that outgrow
    the stream and saturate every layer. With half of the signs negative the two are orthogonal, up
    to chance.
    """
    signs = torch.ones_like(embedding.weight[0])
    signs[1::2] = -1
    return signs


class _Sums:
    """The sums over a layer's inputs that least squares needs, for each choice of alpha."""

    def __init__(self, layer: PointwiseNorm, site: NormSite, choices: Sequence[float]) -> None:
        self.layer, self.site = layer, site
        self.choices = torch.tensor(choices, dtype=torch.float64)
        self.alphas: Tensor | None = None
        self.rows = 0  # values of each channel
        self.squares = 0.0  # of the input
        self.t = self.tt = self.f = self.ff = self.ft = torch.zeros(())

    @property
    def rms(self) -> float:
        return math.sqrt(self.squares / max(1, self.rows * self.t.numel()))

    def add(self, x: Tensor) -> None:
        wide = x.double()
        target = _normalized(self.site, wide)
        wide, target = (self._channels(v) for v in (wide, target))
        if self.alphas is None:
            # The first batch alone sets the scale: the choices of alpha are close to each other.
            rms = wide.square().mean().sqrt()
            self.alphas = self.choices.to(wide.device) / (rms if rms > 0 else 1.0)
        f = lookup(self.layer.function).f
        shift = 0.0 if self.layer.shift is None else self.layer.shift.double()
        self.rows += wide.shape[0]
        self.squares += wide.square().sum().item()
        self.t = self.t.to(wide) + target.sum(0)
        self.tt = self.tt.to(wide) + target.square().sum(0)
        values = [f(alpha * wide + shift) for alpha in self.alphas]
        self.f = self.f.to(wide) + torch.stack([v.sum(0) for v in values])
        self.ff = self.ff.to(wide) + torch.stack([v.square().sum(0) for v in values])
        self.ft = self.ft.to(wide) + torch.stack([(v * target).sum(0) for v in values])

    def _channels(self, x: Tensor) -> Tensor:
        """x as [values, channels], with the channels of weight and bias."""
        if not self.site.channels_last:
            return x.movedim(1, -1).flatten(0, -2)
        covered = max(1, len(self.site.normalized_shape))
        return x.flatten(-covered).flatten(0, -2) if x.dim() > 1 else x[None]

    def solve(self, goal: Goal) -> float:
        """Set the layer's parameters; returns R2 against the norm without its weight and bias."""
        layer = self.layer
        assert self.alphas is not None
        slope, offset = self._line(pooled=goal == "start")
        # sum (slope f + offset - t)^2, multiplied out
        error = (
            slope.square() * self.ff + 2 * slope * offset * self.f + self.rows * offset.square()
            - 2 * slope * self.ft - 2 * offset * self.t + self.tt
        ).sum(1)  # fmt: skip
        best = int(error.argmin())
        layer.alpha.fill_(float(self.alphas[best]))
        gamma, beta = self.site.gamma, self.site.bias
        if layer.weight is not None:
            unit = torch.ones_like(self.t) if gamma is None else gamma.double().flatten()
            layer.weight.copy_((slope[best] * unit.to(slope)).view_as(layer.weight))
            if layer.bias is not None:
                start = 0.0 if beta is None else beta.detach().double().flatten().to(slope)
                layer.bias.copy_((offset[best] * unit.to(slope) + start).view_as(layer.bias))
        total = (self.tt - self.t.square() / self.rows).sum()
        return float(1 - error[best] / total) if total else math.nan

    def _line(self, pooled: bool) -> tuple[Tensor, Tensor]:
        """Slope and offset of least squares, [choices, channels]; pooled: one for all channels.

        Only those for which the layer has parameters: no offset without a bias, no slope without a
        weight.
        """
        n, f, ff, ft, t = self.rows, self.f, self.ff, self.ft, self.t
        if pooled:
            n *= t.numel()
            f, ff, ft, t = (v.sum(-1, keepdim=True) for v in (f, ff, ft, t))
        if self.layer.weight is None:
            return torch.ones_like(f), torch.zeros_like(f)
        if self.layer.bias is None:
            return _slope(ft, ff, ff), torch.zeros_like(f)
        slope = _slope(ft - f * t / n, ff - f.square() / n, ff)
        return slope, (t - slope * f) / n


def _slope(products: Tensor, squares: Tensor, of: Tensor) -> Tensor:
    """products / squares; 1 where squares is negligible beside ``of``, that is, f did not vary."""
    return torch.where(squares > 1e-12 * of, products / squares, 1.0)


def _normalized(site: NormSite, x: Tensor) -> Tensor:
    """The norm of x, without weight and bias."""
    eps = site.eps or 0.0
    centred = x - x.mean(site.axes, keepdim=True)
    if site.kind == "rms":
        return x * (x.square().mean(site.axes, keepdim=True) + eps).rsqrt()
    variance = centred.square().mean(site.axes, keepdim=True)
    return (centred if site.kind == "layer" else x) * (variance + eps).rsqrt()
