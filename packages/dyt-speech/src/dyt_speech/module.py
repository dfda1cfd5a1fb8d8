"""The LightningModule of wav2vec 2.0's pretraining: identify the code of each masked frame."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import gcd, log

import torch
from torch import Generator, Tensor, nn
from torch.optim import AdamW
from transformers import Wav2Vec2ForPreTraining

from dyt_bench.plugin.data import nth_batch, weight
from dyt_bench.plugin.domain import Decays
from dyt_bench.plugin.module import TrainableModule, unsaved
from dyt_bench.plugin.noise import generators, generators_at, places_of_step
from dyt_bench.plugin.optim import MakeOptimizer, MakeSchedule
from dyt_speech.models import build
from dyt_speech.objective import (
    Contrast,
    contrast,
    gumbel_temperature,
    masked_frames,
    sample_negatives,
    span_mask,
)

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


class Pretraining(TrainableModule):
    """Logs ``train/loss`` and, in validation, each term of the loss by itself.

    The loss is contrastive + 0.1 · diversity + penalty, in nats per masked frame of a step, however
    the step is divided. Swapping the norm before the quantizer changes the targets, and with them
    the first two terms. Logged are:

    - ``val/loss``: the contrastive term alone;
    - ``val/chance``: the loss of a blind guess among the codes in use. Far below
      log(1 + negatives), the codebook has collapsed; where ``val/loss`` ends equal to it, nothing
      was learned. The log warns of both;
    - ``val/acc``: share of masked frames whose own code ranks first;
    - ``val/perplexity``: effective number of codes in use; ``val/diversity``: share not in use;
    - ``val/objective_bits``: the whole loss in bits, as fairseq reports it. Its diversity is that
      of the softmax; here, as in transformers, it is that of the codes chosen.

    Args:
        model: transformers' ``Wav2Vec2ForPreTraining``, or the name of one in
            `dyt_speech.models`, which is built.
        learning_rate, optimizer, schedule, decays: as in `dyt_bench.plugin.optim.configured`.
        steps: of the whole training, by which the temperature falls; None: the Trainer's.
        seconds: that a sample lasts at most, for units a second.
        mask_length: frames masked in a row.
        layer_drop: share of layers that a step skips, of a model that is built.
        extractor_gradient: factor on the gradient of the feature extractor.
        feature_penalty: weight of the mean square of the extractor's output.
        temperature_floor, temperature_updates: schedule of the Gumbel softmax.
        diversity_over: in training, so many samples have one diversity, of which the mean is taken;
            where what goes through at once is no multiple of it, their greatest common divisor.
            None: all that go through at once.
        val_maskings: masks for each validation window.
        seed: of masks and negatives, with the step and the sample's place in it.

    Raises:
        UserError: no model has that name.

    Source: Baevski et al. 2020, sections 3.2 and 4.2 (arXiv 2006.11477).
    """

    def __init__(
        self,
        model: str | Wav2Vec2ForPreTraining = "wav2vec2",
        *,
        learning_rate: float = 5e-4,
        optimizer: MakeOptimizer = AdamW,
        schedule: MakeSchedule | None = None,
        decays: Decays = "matrices",
        steps: int | None = None,
        seconds: float = 1.0,
        mask_length: int = 10,
        layer_drop: float = 0.0,
        extractor_gradient: float = 1.0,
        feature_penalty: float = 0.0,
        temperature_floor: float = 0.5,
        temperature_updates: int = 400_000,
        diversity_over: int | None = None,
        val_maskings: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(learning_rate, optimizer, schedule, decays)
        self.save_hyperparameters(ignore=unsaved(model))
        self.seed = seed
        self.steps, self.mask_length, self.val_maskings = steps, mask_length, val_maskings
        self.units_per_sample = round(seconds)
        self.extractor_gradient, self.feature_penalty = extractor_gradient, feature_penalty
        self.temperature = partial(
            gumbel_temperature, updates=temperature_updates, floor=temperature_floor
        )
        self.model = build(model, layer_drop=layer_drop) if isinstance(model, str) else model
        self.skips_layers = layer_drop > 0  # so that several processes wait for no gradient of them
        self.num_negatives: int = self.model.config.num_negatives
        self.diversity_over = diversity_over
        self._masked = (-1, 0)  # a step, and its masked frames
        self._penalty: Tensor | None = None
        if extractor_gradient != 1 or feature_penalty:
            self.model.wav2vec2.feature_extractor.register_forward_hook(self._restrain)

    def _restrain(self, extractor: nn.Module, waves: object, features: Tensor) -> None:
        """Scale the extractor's gradient, that of the penalty included, as fairseq does."""
        if features.requires_grad:
            factor = self.extractor_gradient
            features.register_hook(lambda gradient: gradient * factor)  # type: ignore[no-untyped-call]  # torch's own
        self._penalty = features.float().pow(2).mean()

    def forward(self, waves: Tensor, mask: Tensor, negatives: Tensor) -> Losses:
        """Waves (B, samples), mask (B, T), negatives (B, T, K) -> the terms of the objective."""
        model = self.model
        output = model.wav2vec2(waves, mask_time_indices=mask)
        predicted = model.project_hid(output.last_hidden_state)
        features = model.dropout_features(output.extract_features)
        codes, perplexity = model.quantizer(features, mask_time_indices=mask)
        together = gcd(self.diversity_over or len(waves), len(waves))
        if self.training and together < len(waves):
            perplexity = self._perplexity(features, mask, together)
        codes = model.project_q(codes.to(model.project_q.weight.dtype))
        entries = model.config.num_codevector_groups * model.config.num_codevectors_per_group
        penalty, self._penalty = self._penalty, None
        return Losses(
            contrast=contrast(predicted, codes, mask, negatives),
            perplexity=perplexity,
            diversity=1 - perplexity / entries,
            penalty=perplexity.new_zeros(()) if penalty is None else penalty,
        )

    def _perplexity(self, features: Tensor, mask: Tensor, together: int) -> Tensor:
        """Mean over groups of ``together`` samples of the effective number of codes in use."""
        quantizer = self.model.quantizer
        logits = quantizer.weight_proj(features).float()
        shares = logits.unflatten(-1, (quantizer.num_groups, -1)).softmax(-1)  # (B, T, G, V)
        perplexities = [
            quantizer._compute_perplexity(own.flatten(0, 1), where)  # type: ignore[no-untyped-call]
            for own, where in zip(
                torch.split(shares, together), torch.split(mask, together), strict=True
            )
        ]
        return torch.stack(perplexities).mean()

    def objective(self, losses: Losses) -> Tensor:
        """What is minimised, in nats per masked frame."""
        diversity = self.model.config.diversity_loss_weight * losses.diversity
        return losses.contrast.loss + diversity + self.feature_penalty * losses.penalty

    def draw(
        self, waves: Tensor, by: Sequence[Generator | None] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw a mask (B, T) and negatives (B, T, K) for ``waves``, the same on every device.

        Args:
            by: a generator for each row; None: torch's global one.
        """
        frames = int(self.model._get_feat_extract_output_lengths(waves.shape[1]))
        rows = []
        for generator in by or [None] * len(waves):
            mask = span_mask(1, frames, self.mask_length, generator)
            rows.append((mask, sample_negatives(mask, self.num_negatives, generator)))
        masks, negatives = (torch.cat(parts).to(waves.device) for parts in zip(*rows, strict=True))
        return masks, negatives

    @property
    def total_steps(self) -> float:
        """Steps of the optimiser in the whole training."""
        return self.steps or self.trainer.estimated_stepping_batches

    def training_step(self, waves: Tensor, index: int) -> Tensor:
        temperature = self.temperature(self.global_step / self.total_steps)
        self.model.set_gumbel_temperature(temperature)  # type: ignore[arg-type]  # it says int
        mask, negatives = self.draw(waves, generators(self, self.seed, index, len(waves)))
        losses = self(waves, mask, negatives)
        contrast = replace(losses.contrast, loss=losses.contrast.loss * self._weight(mask))
        loss = self.objective(replace(losses, contrast=contrast))
        self.log("train/loss", loss)
        return loss

    def _weight(self, mask: Tensor) -> Tensor | float:
        """Of a mean over this part's masked frames (B, T): the parts' mean is then the step's."""
        places, (rows, frames) = places_of_step(self, len(mask)), mask.shape
        if len(places) == rows:
            return 1.0
        if self._masked[0] != self.global_step:
            by = generators_at(self, self.seed, places)
            self._masked = self.global_step, masked_frames(frames, self.mask_length, by)
        return mask.sum() * (len(places) / rows / self._masked[1])

    def validation_step(self, waves: Tensor, index: int) -> None:
        waves = waves.repeat(self.val_maskings, 1)
        one = Generator().manual_seed(nth_batch(index))
        mask, negatives = self.draw(waves, [one] * len(waves))
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
            self.log(f"val/{name}", value, batch_size=weight(masked), sync_dist=True)

    def on_validation_end(self) -> None:
        """Warn of what a falling loss alone would hide."""
        metrics, step = self.trainer.callback_metrics, self.global_step
        if "val/loss" not in metrics:  # as in a Trainer's check before training
            return
        loss, chance = float(metrics["val/loss"]), float(metrics["val/chance"])
        if chance < COLLAPSED * log(1 + self.num_negatives):
            logger.warning(
                "step %d: the codebook has collapsed: most negatives carry a frame's own code, "
                "and a blind guess already has a loss of %.2f; read val/loss against that",
                step,
                chance,
            )
        elif step == self.total_steps and loss > chance - LEARNED:
            logger.warning(
                "step %d: val/loss %.2f is that of a blind guess among the codes in use, %.2f: "
                "nothing was learned",
                step,
                loss,
                chance,
            )
