"""Fit the layers that `convert` put in to the norms that they replace, on a few batches.

Two uses of one mechanism. Before training, goal "start": each layer gets the alpha, and one scalar
each for weight and bias, with which it returns what the norm would have; and the embedding is
scaled so that the stream has unit variance. On a trained model, goal "norm": each layer gets the
alpha, weight and bias that are closest to its norm, channel by channel, so that the model survives
the swap and can be fine-tuned.

A layer is fitted when a pass reaches it, before it computes, and the pass goes on with the fit. So
one pass fits all layers from the model's input to its output, each after all layers before it. At
every further input, of a later batch or another call of a shared layer, it is fitted anew to all so
far. A layer-by-layer start from data is the idea of LSUV (arXiv 1511.06422).
"""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dyt._audit.audit import audit
from dyt._gradual import Gradual
from dyt._sharded import is_shared, put, reshard, whole
from dyt._surgery.embedding import Stream, StreamWatch
from dyt._surgery.fitting import LeastSquares
from dyt._surgery.inputs import Batch, Mask, Run, read, sample
from dyt._surgery.placing import original
from dyt.layers import PointwiseNorm

Goal = Literal["start", "norm"]

# alpha times the root mean square of a layer's input. One half is what DyT starts with where the
# input has unit variance: the function is nonlinear there, and hardly any value saturates.
START = 0.5
# The choices of a fit to a trained norm, from nearly linear to a step.
CHOICES = tuple(0.05 * 2 ** (k / 3) for k in range(21))

# Enough of a layer's input: at an R2 of one half and more, the standard error of a channel's slope
# is below a hundredth of it.
ROWS = 2**14

# On normally distributed tokens a step reaches an R2 of 2 / pi = 0.64, whatever their scales, and a
# line 1 / (1 + spread^2). A fit this low, with such a spread, is hardly better than a step.
POOR_R2, WIDE_SPREAD = 0.7, 1.0
LISTED = 10  # names in a message


class CalibrationWarning(UserWarning):
    """Some layers cannot follow their norms, as `calibrate` found."""


@dataclass(frozen=True)
class Fit:
    """How well one layer approximates its norm, on the rows that it was fitted to."""

    name: str
    alpha: float
    input_rms: float
    r2: float  # 1 - squared error / variance of the norm's output; 1 is perfect
    rows: int  # of its input (tokens, pixels) that it was fitted to
    # Of the tokens' scales, which a norm takes away and an element-wise layer cannot: standard
    # deviation over mean of what the norm divides by.
    spread: float

    @property
    def is_poor(self) -> bool:
        """Whether the fit is bad because the scales of tokens differ."""
        return self.r2 < POOR_R2 and self.spread > WIDE_SPREAD


@dataclass(frozen=True)
class Calibration:
    """The result of `calibrate`: the fits in the order in which the layers were reached."""

    fits: tuple[Fit, ...]
    embedding_scale: float | None  # magnitude of the factor of the embeddings; None: no factor

    @property
    def worst(self) -> Fit:
        """The fit with the lowest R2; one without an R2, as its norm returns a constant, is not."""
        return min(self.fits, key=lambda fit: math.inf if math.isnan(fit.r2) else fit.r2)

    @property
    def warning(self) -> str | None:
        """Which layers cannot follow their norms, why, and what to do; None if all can."""
        poor = sorted((fit for fit in self.fits if fit.is_poor), key=lambda fit: fit.r2)
        if not poor:
            return None
        worst = _some([f"{f.name} (R2 {f.r2:.2f}, spread {f.spread:.2g})" for f in poor])
        return (
            f"{len(poor)} of {len(self.fits)} layers cannot follow their norms, because the scales "
            f"of tokens differ too much (spread: standard deviation over mean): {worst}. Keep "
            "these norms (dyt.convert(..., exclude=[...])), leave out tokens that are padding "
            "(mask=...), or train further after the swap"
        )

    def __str__(self) -> str:
        lines = [
            f"{'layer':<44} {'alpha':>8} {'input rms':>10} {'R2':>7} {'spread':>7} {'rows':>8}"
        ]
        lines += [
            f"{f.name:<44} {f.alpha:8.4f} {f.input_rms:10.4g} {f.r2:7.3f} {f.spread:7.2f} "
            f"{f.rows:8d}"
            for f in self.fits
        ]
        lines.append(f"worst: {self.worst.name}, R2 {self.worst.r2:.3f}")
        return "\n".join([*lines, *filter(None, [self.warning])])


def calibrate(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    goal: Goal = "norm",
    run: Run | None = None,
    mask: Mask | None = None,
    rows: int = ROWS,
) -> Calibration:
    """Fit every layer that `convert` put into ``model``, in place; returns how well each fits.

    Args:
        model: a converted model, on a real device.
        batches: a few batches. They are read one at a time, until every layer has seen ``rows``
            rows, or none is left. Goal "start" needs one.
        goal: "start", before training: ``alpha = 0.5 / rms(x)``, and for ``weight`` and ``bias``
            one scalar each, which best map f to the normalized input; embeddings get a factor
            that scales the stream to unit variance (see `ScaledEmbedding`). "norm", for a trained
            model: the alpha of 21 choices, and the weight and bias with the least squared error to
            the norm's output, channel by channel.
        run: how to run the model on a batch. By default a mapping (a dict, a ``BatchEncoding``) is
            its keyword arguments, a tuple or list its arguments, and anything else its argument.
            Of a pair, such as ``(inputs, labels)``, only the first element is used if it is a
            mapping, or if the model's forward takes one argument. For other pairs pass
            ``run=lambda model, batch: model(batch[0])``.
        mask: returns where a batch is padded: a tensor [B, T], 0 at padding, or None. By default
            the ``attention_mask`` of a mapping, if it has two dimensions. Padding is left out of
            inputs of shape [B, T, ...], [B, H, T, D] and [B T, C].
        rows: how many rows of a layer's input (tokens, pixels) are enough. With goal "norm" a layer
            looks at no more, in each of its calls in a pass: of a larger batch at a sample, always
            the same. Goal "start", which tries one alpha, takes each batch whole.

    Each batch is run once; with goal "start" the first once more, to scale the embeddings. So there
    are never more passes than batches, and one: with the default, LLaMA-7B takes 8 sequences of
    2,048 tokens. Kept are sums: 65 fp64 numbers for each channel of a layer. Besides, a pass needs
    a copy of the input of one layer, and a few times 8 MiB.

    Of a model whose parameters processes share (FSDP2), every process runs the same batches, and
    the first one's fits are kept. For goal "start" its embedding has a factor already.

    Meanwhile the model is in eval mode and makes no gradients; the state of the random generators
    is restored. Sums are fp64. Equal batches give equal parameters. After an exception all
    parameters are what they were.

    Warns:
        CalibrationWarning: layers with an R2 below 0.7 whose tokens' scales have a standard
            deviation above their mean.

    Raises:
        ValueError: an unknown goal; ``rows`` below 1; no batch; a model without layers put in by
            `convert`, or on the meta device; a layer that no batch reaches; a batch that does not
            fit the model, or brings NaN or infinite values to a layer; labels in the place of a
            mask; a fit that is not finite in the layer's dtype; shared parameters, and no factor of
            the embedding.

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
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    if isinstance(batches, Mapping):
        raise ValueError("batches is a mapping: pass a list of batches, of one [batch]")
    layers = _layers(model, goal)
    with _undisturbed(model, layers):
        found = _Calibrator(model, layers, goal, run, rows).calibrate(read(batches, mask))
    if found.warning is not None:
        warnings.warn(found.warning, CalibrationWarning, stacklevel=2)
    return found


@dataclass(eq=False)
class _Layer:
    """A layer's fit under way."""

    name: str
    fit: LeastSquares
    # Rows taken by each of its calls in a pass: where parents share it there are several, and none
    # may take the others' share.
    taken: list[int] = field(default_factory=list)
    call: int = 0  # the next one
    values: dict[str, Tensor] = field(default_factory=dict)  # of shared parameters, as fitted


def _layers(model: nn.Module, goal: Goal) -> dict[nn.Module, _Layer]:
    """Where the input of a layer arrives -> its fit."""
    replaced = list(_replaced(model))
    if not replaced:
        raise ValueError(
            f"{type(model).__name__} has no layer that dyt.convert put in for a norm: convert it "
            "first"
        )
    if any(layer.alpha.is_meta for _, layer, _, _ in replaced):
        raise ValueError("the model is on the meta device and has no values to calibrate with")
    layers = dict[nn.Module, _Layer]()
    for entrance, layer, name, norm in replaced:
        if any(parameter.is_meta for parameter in norm.parameters()):
            raise ValueError(
                f"the norm of {name!r} was replaced by dyt.load, or on the meta device, and has no "
                "values to fit to: calibrate before saving"
            )
        (site,) = audit(norm)
        choices = (START,) if goal == "start" and site.affine else CHOICES
        fit = LeastSquares(layer, site, choices, pooled=goal == "start")
        layers[entrance] = _Layer(name, fit)
    return layers


def _replaced(model: nn.Module) -> Iterator[tuple[nn.Module, PointwiseNorm, str, nn.Module]]:
    """Each layer: where its input arrives, itself, its name, and the norm that it replaces.

    In a gradual swap the input arrives although the layer does not compute yet, and the pass goes
    on with what the norm gives.
    """
    for name, module in model.named_modules():
        norm, layer = original(module), module
        if norm is None:
            continue
        if isinstance(layer, Gradual):
            layer, name = layer.layer, f"{name}.layer".lstrip(".")
        if isinstance(layer, nn.Sequential):  # of the layer and the norm's activation
            layer, name = layer[0], f"{name}.norm".lstrip(".")
        if isinstance(layer, PointwiseNorm):
            yield module if isinstance(module, Gradual) else layer, layer, name, norm


@contextmanager
def _undisturbed(model: nn.Module, layers: Iterable[nn.Module]) -> Iterator[None]:
    """Eval mode without gradients; on an exception the layers get their parameters back."""
    training = {name for name, module in model.named_modules() if module.training}
    before = [(p, p.detach().clone()) for layer in layers for p in layer.parameters()]
    model.eval()
    try:
        with torch.no_grad(), _random_state_kept(model):
            yield
    except BaseException:
        with torch.no_grad():
            reshard(model)
            for parameter, value in before:
                parameter.copy_(value)
        raise
    finally:
        for name, module in model.named_modules():  # by name: an embedding may be a new one
            if name in training:
                module.training = True


def _random_state_kept(model: nn.Module) -> Any:
    devices = {parameter.device for parameter in model.parameters()}
    return torch.random.fork_rng(sorted(d.index for d in devices if d.type == "cuda"))


class _Calibrator:
    """Runs batches through the model, and fits each layer when they reach it."""

    def __init__(
        self,
        model: nn.Module,
        layers: Mapping[nn.Module, _Layer],
        goal: Goal,
        run: Run | None,
        rows: int,
    ) -> None:
        self.model, self.layers, self.goal, self.run, self.rows = model, layers, goal, run, rows
        self.reached: dict[_Layer, None] = {}  # in order
        self.shared = is_shared(model)
        self.stream: Stream | None = None if goal == "start" else Stream(None, {})

    def calibrate(self, batches: Iterable[Batch]) -> Calibration:
        count = 0
        for batch in batches:
            count += 1
            if self.stream is None:
                self.stream = self._find_stream(batch)
            self._fit(batch, self.stream or Stream(None, {}))
            if all(self._has_enough(layer) for layer in self.layers.values()):
                break
        self._refuse_missed(count)
        assert self.stream is not None
        self.stream.put_into(self.model)
        return Calibration(tuple(map(_fit, self.reached)), self.stream.scale)

    def _find_stream(self, batch: Batch) -> Stream | None:
        watch = StreamWatch(self.model)

        def look(layer: _Layer, x: Tensor) -> None:
            rows = batch.rows(layer.name, layer.fit.site, x)
            if watch.shape is None and len(rows):
                watch.see(x.shape, rows)

        # The pass that fits draws the same random numbers.
        with _random_state_kept(self.model), watch.watching(), self._calling(look):
            batch.run(self.model, self.run)
        return watch.found()

    def _fit(self, batch: Batch, stream: Stream) -> None:
        def fit(layer: _Layer, x: Tensor) -> None:
            self._take(layer, batch.rows(layer.name, layer.fit.site, x))

        for layer in self.layers.values():
            layer.call = 0
        with stream.scaled(), self._calling(fit):
            batch.run(self.model, self.run)
        if self.shared:
            self._write_again()

    def _write_again(self) -> None:
        """Write the fits to the shares: a pass writes to whole parameters, which it discards."""
        reshard(self.model)
        for layer in self.reached:
            for name, parameter in layer.fit.layer.named_parameters(recurse=False):
                put(parameter, layer.values[name])

    def _take(self, layer: _Layer, rows: Tensor) -> None:
        """Fit the layer to what it still needs of ``rows``."""
        if layer.call == len(layer.taken):
            layer.taken.append(0)
        missing = self.rows - layer.taken[layer.call]
        if missing > 0 and len(rows):
            rows = rows if self.goal == "start" else sample(rows, missing)
            layer.fit.add(rows)
            layer.taken[layer.call] += len(rows)
            self.reached[layer] = None
            _refuse_overflow(layer)
            if self.shared:
                named = layer.fit.layer.named_parameters(recurse=False)
                layer.values = {name: whole(value).clone() for name, value in named}
        layer.call += 1

    def _has_enough(self, layer: _Layer) -> bool:
        return bool(layer.taken) and min(layer.taken) >= self.rows

    @contextmanager
    def _calling(self, look: Callable[[_Layer, Tensor], None]) -> Iterator[None]:
        """Within it ``look`` is called with every input of every layer."""

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            look(self.layers[module], args[0] if args else kwargs["x"])

        with ExitStack() as stack:
            for layer in self.layers:
                stack.callback(layer.register_forward_pre_hook(hook, with_kwargs=True).remove)
            yield

    def _refuse_missed(self, batches: int) -> None:
        missed = [layer.name for layer in self.layers.values() if layer not in self.reached]
        if missed:
            raise ValueError(
                f"calibration does not reach {len(missed)} of {len(self.layers)} layers with "
                f"{batches} batch{'es' * (batches > 1)}: {_some(missed)}. Give batches that use "
                "them, or exclude them from dyt.convert"
            )


def _refuse_overflow(layer: _Layer) -> None:
    own = layer.fit.layer
    for name, parameter in own.named_parameters():
        if not torch.isfinite(whole(parameter)).all():
            raise ValueError(
                f"the {name} of {layer.name!r} that fits an input of rms {layer.fit.rms:.3g} is "
                f"not finite in {parameter.dtype}: calibrate in a wider dtype"
            )


def _fit(layer: _Layer) -> Fit:
    fit = layer.fit
    return Fit(layer.name, whole(fit.layer.alpha).item(), fit.rms, fit.r2, fit.rows, fit.spread)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
