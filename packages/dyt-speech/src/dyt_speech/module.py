"""The LightningModule of wav2vec 2.0's pretraining: identify the code of each masked frame."""

import logging
from dataclasses import dataclass
from math import log

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Generator, Tensor, nn

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.optim import adamw
from dyt_bench.plugin.task import Task
from dyt_speech.models import build
from dyt_speech.objective import (
    Contrast,
    contrast,
    gumbel_temperature,
    sample_negatives,
    span_mask,
)
from dyt_speech.reference import blind_guess

logger = logging.getLogger(__name__)

COLLAPSED = 0.5  # share of a blind guess's loss: with less, most negatives are the same code
LEARNED = 0.01  # nats below a blind guess: with less, the model is no better


@dataclass(frozen=True)
class Losses:
    """The terms of the objective, of one batch."""

    contrast: Contrast
    perplexity: Tensor  # effective number of codes in use, summed over the codebooks
    diversity: Tensor  # share of the codes that is not in use
    penalty: Tensor  # mean square of the extractor's output; zero where it has no weight


class Pretraining(LightningModule):
    """Logs ``train/loss`` and, in validation, each term of the loss by itself.

    The loss is contrastive + 0.1 · diversity + penalty, in nats per masked frame. Swapping the
    norm before the quantizer changes the targets, and with them the first two terms. Logged are:

    - ``val/loss``: the contrastive term alone;
    - ``val/chance``: the loss of a blind guess among the codes in use. Far below
      log(1 + negatives), the codebook has collapsed; where ``val/loss`` ends equal to it, nothing
      was learned. The log warns of both;
    - ``val/acc``: share of masked frames whose own code ranks first;
    - ``val/perplexity``: effective number of codes in use; ``val/diversity``: share not in use;
    - ``val/objective_bits``: the whole loss in bits, as fairseq reports it. Its diversity is that
      of the softmax; here, as in transformers, it is that of the codes chosen.

    Reads these options of the preset; the data module reads the others:

    - ``mask_length``: frames masked in a row;
    - ``layer_drop``: share of layers that a step skips;
    - ``extractor_gradient``: factor on the gradient of the feature extractor;
    - ``feature_penalty``: weight of the mean square of the extractor's output;
    - ``temperature_floor``, ``temperature_updates``: schedule of the Gumbel softmax;
    - ``val_maskings``: masks for each validation window.

    Source: Baevski et al. 2020, sections 3.2 and 4.2 (arXiv 2006.11477).
    """

    def __init__(self, task: Task, preset: TrainingPreset) -> None:
        super().__init__()
        self.task, self.preset = task, preset
        self.option = {key: float(value) for key, value in preset.options.items()}
        self.units_per_sample = round(self.option["seconds"])
        self.model = build(task.model, layer_drop=self.option["layer_drop"])
        self.num_negatives: int = self.model.config.num_negatives
        self._penalty: Tensor | None = None
        if self.option["extractor_gradient"] != 1 or self.option["feature_penalty"]:
            self.model.wav2vec2.feature_extractor.register_forward_hook(self._restrain)

    def _restrain(self, extractor: nn.Module, waves: object, features: Tensor) -> None:
        """Scale the extractor's gradient, that of the penalty included, as fairseq does."""
        if features.requires_grad:
            factor = self.option["extractor_gradient"]
            features.register_hook(lambda gradient: gradient * factor)  # type: ignore[no-untyped-call]  # torch's own
        self._penalty = features.float().pow(2).mean()

    def forward(self, waves: Tensor, mask: Tensor, negatives: Tensor) -> Losses:
        """Waves (B, samples), mask (B, T), negatives (B, T, K) -> the terms of the objective."""
        model = self.model
        output = model.wav2vec2(waves, mask_time_indices=mask)
        predicted = model.project_hid(output.last_hidden_state)
        features = model.dropout_features(output.extract_features)
        codes, perplexity = model.quantizer(features, mask_time_indices=mask)
        codes = model.project_q(codes.to(model.project_q.weight.dtype))
        entries = model.config.num_codevector_groups * model.config.num_codevectors_per_group
        penalty, self._penalty = self._penalty, None
        return Losses(
            contrast=contrast(predicted, codes, mask, negatives),
            perplexity=perplexity,
            diversity=1 - perplexity / entries,
            penalty=perplexity.new_zeros(()) if penalty is None else penalty,
        )

    def objective(self, losses: Losses) -> Tensor:
        """What is minimised, in nats per masked frame."""
        diversity = self.model.config.diversity_loss_weight * losses.diversity
        return losses.contrast.loss + diversity + self.option["feature_penalty"] * losses.penalty

    def draw(self, waves: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw a mask (B, T) and negatives (B, T, K) for ``waves``, the same on every device."""
        frames = int(self.model._get_feat_extract_output_lengths(waves.shape[1]))
        mask = span_mask(len(waves), frames, round(self.option["mask_length"]), generator)
        negatives = sample_negatives(mask, self.num_negatives, generator)
        return mask.to(waves.device), negatives.to(waves.device)

    def training_step(self, waves: Tensor, index: int) -> Tensor:
        temperature = gumbel_temperature(
            self.global_step / self.task.steps,
            updates=round(self.option["temperature_updates"]),
            floor=self.option["temperature_floor"],
        )
        self.model.set_gumbel_temperature(temperature)  # type: ignore[arg-type]  # it says int
        loss = self.objective(self(waves, *self.draw(waves)))
        self.log("train/loss", loss)
        return loss

    def validation_step(self, waves: Tensor, index: int) -> None:
        waves = waves.repeat(round(self.option["val_maskings"]), 1)
        mask, negatives = self.draw(waves, Generator().manual_seed(index))
        # transformers before 5.23 draws for LayerDrop in evaluation, too.
        with torch.random.fork_rng(devices=[]):
            losses: Losses = self(waves, mask, negatives)
        masked = int(mask.sum())  # as batch size: the mean of the epoch is one over frames
        for name, value in {
            "loss": losses.contrast.loss,
            "chance": losses.contrast.chance,
            "acc": losses.contrast.accuracy,
            "perplexity": losses.perplexity,
            "diversity": losses.diversity,
            "objective_bits": self.objective(losses) / log(2),
        }.items():
            self.log(f"val/{name}", value, batch_size=masked)

    def on_validation_end(self) -> None:
        """Warn of what a falling loss alone would hide."""
        metrics, step = self.trainer.callback_metrics, self.global_step
        loss, chance = float(metrics["val/loss"]), float(metrics["val/chance"])
        if chance < COLLAPSED * blind_guess(self.task.model):
            logger.warning(
                "step %d: the codebook has collapsed: most negatives carry a frame's own code, "
                "and a blind guess already has a loss of %.2f; read val/loss against that",
                step,
                chance,
            )
        elif step == self.task.steps and loss > chance - LEARNED:
            logger.warning(
                "step %d: val/loss %.2f is that of a blind guess among the codes in use, %.2f: "
                "nothing was learned",
                step,
                loss,
                chance,
            )

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        task = self.task
        return adamw(self, self.preset, learning_rate=task.learning_rate, steps=task.steps)
