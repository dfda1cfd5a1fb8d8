"""The ways to start that are compared, and a second implementation of `dyt.calibrate`'s start.

`dyt.calibrate` has no options for what turned out not to help; `Start` has them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn

import dyt
from dyt._surgery.convert import original
from dyt._surgery.embedding import ScaledEmbedding
from dyt_bench.plugin.task import Norm

Offset = Literal["none", "one", "channel"]


@dataclass(frozen=True)
class Start:
    """How layers swapped in plainly are started; by default as `dyt.calibrate` does it."""

    embedding: bool = True  # bring the stream that embeddings start to unit variance
    signs: bool = True  # half of them turned, where the head is tied to the embedding
    alpha: bool = True  # target / rms of the input; else as it was, 0.5
    # alpha times the rms; a layer without weight takes the alpha that fits best, in proportion.
    target: float = 0.5
    weight: bool = True  # one scalar, of least squares against the norm; else as it was
    offset: Offset = "one"  # of the bias, likewise: one for all channels, or one for each
    in_order: bool = True  # each layer with all before it started; else all from one pass

    @torch.no_grad()
    def __call__(self, module: LightningModule, data: LightningDataModule) -> None:
        data.prepare_data()
        data.setup("fit")
        batch = next(iter(data.train_dataloader()))
        before = {name: value.clone() for name, value in module.named_parameters()}
        with torch.enable_grad():
            found = dyt.calibrate(module, [batch], goal="start", run=step)
        best = {module.get_submodule(fit.name): fit.alpha for fit in found.fits}
        for name, value in module.named_parameters():
            if name in before:  # the embeddings' scales are new
                value.copy_(before[name])
        for part in module.modules():
            if isinstance(part, ScaledEmbedding):
                if not self.embedding:
                    part.scale.fill_(1)
                elif not self.signs:
                    part.scale.abs_()
        for group in [[layer] for layer in best] if self.in_order else [list(best)]:
            for layer, x in inputs(module, batch, group).items():
                self.set(layer, x, best[layer])

    def set(self, layer: nn.Module, x: Tensor, best: float) -> None:
        """Start one layer by its input; the model for it is what its norm makes of that."""
        assert isinstance(layer, dyt.PointwiseNorm)
        norm = original(layer)
        assert norm is not None
        if self.alpha:
            rms = x.square().mean().sqrt()
            layer.alpha.fill_(
                best * self.target / 0.5 if layer.weight is None else self.target / rms
            )
        axis = -1 if layer.channels_last else 1
        f = torch.tanh(layer.alpha * x).movedim(axis, -1).flatten(0, -2).double()
        y = norm(x).movedim(axis, -1).flatten(0, -2).double()
        if not self.weight or layer.weight is None:
            return
        over: tuple[int, ...] = () if layer.bias is None or self.offset == "none" else (0, 1)
        over = (0,) if over and self.offset == "channel" else over
        f_mean, y_mean = (v.mean(over, keepdim=True) if over else 0.0 for v in (f, y))
        slope = ((f - f_mean) * (y - y_mean)).sum() / (f - f_mean).square().sum()
        layer.weight.fill_(slope)
        if over:
            layer.bias.copy_((y_mean - slope * f_mean).flatten().expand_as(layer.bias))


def inputs(module: LightningModule, batch: Any, layers: list[nn.Module]) -> dict[nn.Module, Tensor]:
    """What each of ``layers`` is given in one pass in eval mode."""
    seen: dict[nn.Module, Tensor] = {}
    handles = [
        layer.register_forward_pre_hook(lambda layer, given: seen.update({layer: given[0]}))
        for layer in layers
    ]
    training = [part for part in module.modules() if part.training]
    module.eval()
    with torch.random.fork_rng(devices=[]):
        step(module, batch)
    for part in training:
        part.training = True
    for handle in handles:
        handle.remove()
    return seen


def step(module: LightningModule, batch: Any) -> object:
    """A training step without a trainer to log to."""
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        return module.training_step(batch, 0)
    finally:
        del module.log


NATIVE, PLAIN = Norm(), Norm(name="dyt")
CALIBRATED = Norm(name="dyt", recipe="calibrated")


@dataclass(frozen=True)
class Variant:
    """One arm: native norms, or DyT started in some way."""

    what: str  # for tables: what it is, or what it does otherwise than "calibrated"
    norm: Norm = NATIVE
    # Starts a module with DyT swapped in plainly; None: the norm above is all there is to it.
    start: Callable[[LightningModule, LightningDataModule], None] | None = None
    alpha_rate: float = 1.0  # alpha's learning rate, in units of the others'
    models: tuple[str, ...] = ()  # the ones that have what is changed; empty: all


BIASED = ("vit", "convnext", "wav2vec2", "hyena")  # their norms have weight and bias
VARIANTS = {
    "native": Variant("the model's own norms"),
    "plain": Variant("DyT, alpha 0.5, nothing else", PLAIN),
    "calibrated": Variant("DyT, started by `dyt.calibrate`", CALIBRATED),
    "embedding-as-is": Variant(
        "embeddings are not scaled", start=Start(embedding=False), models=("hyena", "llama")
    ),
    "signs-as-are": Variant(
        "embeddings scaled, no sign turned", start=Start(signs=False), models=("hyena",)
    ),
    "alpha-as-is": Variant("alpha stays 0.5", start=Start(alpha=False)),
    "weight-as-is": Variant(
        "weight stays 1, bias 0", start=Start(weight=False), models=(*BIASED, "llama")
    ),
    "no-offset": Variant("bias stays 0", start=Start(offset="none"), models=BIASED),
    "channel-offset": Variant(
        "a bias for each channel", start=Start(offset="channel"), models=BIASED
    ),
    "one-pass": Variant("all layers from one pass", start=Start(in_order=False)),
    "target-0.25": Variant("alpha 0.25 / rms", start=Start(target=0.25)),
    "target-1": Variant("alpha 1 / rms", start=Start(target=1.0)),
    "alpha-rate-0.1": Variant("alpha learns at 0.1 of the rate", CALIBRATED, alpha_rate=0.1),
    "alpha-rate-10": Variant("alpha learns at 10 times the rate", CALIBRATED, alpha_rate=10.0),
}
