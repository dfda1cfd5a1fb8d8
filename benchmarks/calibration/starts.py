"""The compared ways to start a model, and `dyt.calibrate`'s start with options to leave parts out.

`dyt.calibrate` itself has no options for what turned out not to help.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn

import dyt
from dyt import ScaledEmbedding, original
from dyt_bench.plugin.task import Variant

Offset = Literal["none", "one", "channel"]


@dataclass(frozen=True)
class PartialCalibration:
    """Starts layers that were swapped in plainly; by default exactly as `dyt.calibrate` does."""

    embedding: bool = True  # scale embeddings so that the residual stream starts with unit variance
    signs: bool = True  # turn the sign of half of the scales if the head is tied to the embedding
    alpha: bool = True  # target / rms of the input; if False, it stays 0.5
    # alpha times the rms; a layer without weight takes the best-fitting alpha times target / 0.5
    target: float = 0.5
    weight: bool = True  # one scalar, by least squares against the norm; if False, it stays 1
    offset: Offset = "one"  # of the bias, likewise: one for all channels, or one a channel
    in_order: bool = True  # each layer after all before it; if False, all from one pass

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
            if name in before:  # the embeddings' scales are not
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
        """Start one layer from its input ``x``; the target of the fit is the norm's output."""
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
            assert layer.bias is not None
            layer.bias.copy_((y_mean - slope * f_mean).flatten().expand_as(layer.bias))


def inputs(module: LightningModule, batch: Any, layers: list[nn.Module]) -> dict[nn.Module, Tensor]:
    """Layer -> its input in one pass in eval mode."""
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


def step(module: nn.Module, batch: Any) -> object:
    """A training step without a Trainer to log to."""
    assert isinstance(module, LightningModule)
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        return module.training_step(batch, 0)
    finally:
        del module.log


NATIVE, PLAIN = Variant(), Variant(name="dyt")
CALIBRATED = Variant(name="dyt", recipe="calibrated")


@dataclass(frozen=True)
class Start:
    """One way to start a model: with its native norms, or with DyT started in some way."""

    what: str  # for tables: what it is, or how it differs from "calibrated"
    variant: Variant = NATIVE
    # Starts a module into which DyT was swapped plainly; None: the variant's own start.
    calibrate: Callable[[LightningModule, LightningDataModule], None] | None = None
    alpha_rate: float = 1.0  # alpha's learning rate, as a multiple of the others'
    models: tuple[str, ...] = ()  # those that have what is changed; empty: all


BIASED = ("vit", "convnext", "wav2vec2", "hyena")  # their norms have weight and bias
STARTS = {
    "native": Start("the model's own norms"),
    "plain": Start("DyT, alpha 0.5, nothing else", PLAIN),
    "calibrated": Start("DyT, started by `dyt.calibrate`", CALIBRATED),
    "embedding-as-is": Start(
        "embeddings are not scaled",
        calibrate=PartialCalibration(embedding=False),
        models=("hyena", "llama"),
    ),
    "signs-as-are": Start(
        "embeddings scaled, no sign turned",
        calibrate=PartialCalibration(signs=False),
        models=("hyena",),
    ),
    "alpha-as-is": Start("alpha stays 0.5", calibrate=PartialCalibration(alpha=False)),
    "weight-as-is": Start(
        "weight stays 1, bias 0",
        calibrate=PartialCalibration(weight=False),
        models=(*BIASED, "llama"),
    ),
    "no-offset": Start("bias stays 0", calibrate=PartialCalibration(offset="none"), models=BIASED),
    "channel-offset": Start(
        "a bias for each channel", calibrate=PartialCalibration(offset="channel"), models=BIASED
    ),
    "one-pass": Start("all layers from one pass", calibrate=PartialCalibration(in_order=False)),
    "target-0.25": Start("alpha 0.25 / rms", calibrate=PartialCalibration(target=0.25)),
    "target-1": Start("alpha 1 / rms", calibrate=PartialCalibration(target=1.0)),
    "alpha-rate-0.1": Start("alpha learns at 0.1 of the rate", CALIBRATED, alpha_rate=0.1),
    "alpha-rate-10": Start("alpha learns at 10 times the rate", CALIBRATED, alpha_rate=10.0),
}
