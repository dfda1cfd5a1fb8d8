"""wav2vec 2.0's pretraining: find the masked frame's code among those of other frames."""

from math import exp, log

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Generator, Tensor
from torch.nn.functional import cosine_similarity
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2ForPreTrainingOutput

from dyt_bench.cell import Task
from dyt_bench.domain import Training
from dyt_bench.optim import adamw
from dyt_speech.models import MODELS

SPAN = 3  # frames masked in a row, 60 ms; the paper's 10 need more speech and more steps
MASK_SHARE = 0.65  # of the frames if no two spans met, as in the paper; about half as they do
VAL_MASKINGS = 4  # masks for each validation window: the clips have few windows


class Pretraining(LightningModule):
    """Logs ``train/loss`` and, of the validation set, the two terms it is made of, apart.

    The loss is contrastive + 0.1 · diversity, in nats per masked frame. The swap of the norm
    before the quantizer changes the targets and so both terms: ``val/loss`` is the contrastive
    one alone, ``val/perplexity`` the effective number of codes in use (of 16), ``val/diversity``
    the share that is not, ``val/acc`` the share of masked frames whose own code ranks first.

    Source: Baevski et al. 2020, section 3.2 and appendix B (arXiv 2006.11477).
    """

    units_per_sample = 1

    def __init__(self, task: Task, recipe: Training) -> None:
        super().__init__()
        self.task, self.recipe = task, recipe
        self.model = MODELS[task.model]()
        self.num_negatives: int = self.model.config.num_negatives

    def forward(
        self, waves: Tensor, mask: Tensor, negatives: Tensor
    ) -> Wav2Vec2ForPreTrainingOutput:
        """Waves (B, samples), mask (B, T), negatives (B, T, K) -> losses, summed over the mask."""
        output: Wav2Vec2ForPreTrainingOutput = self.model(
            waves, mask_time_indices=mask, sampled_negative_indices=negatives
        )
        return output

    def draw(self, waves: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """A mask (B, T) and negatives (B, T, K) for ``waves``; the same draws on every device."""
        frames = int(self.model._get_feat_extract_output_lengths(waves.shape[1]))
        mask = span_mask(len(waves), frames, generator)
        negatives = sample_negatives(mask, self.num_negatives, generator)
        return mask.to(waves.device), negatives.to(waves.device)

    def training_step(self, waves: Tensor, index: int) -> Tensor:
        temperature = gumbel_temperature(self.global_step / self.task.steps)
        self.model.set_gumbel_temperature(temperature)  # type: ignore[arg-type]  # it says int
        mask, negatives = self.draw(waves)
        loss: Tensor = self(waves, mask, negatives).loss / mask.sum()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, waves: Tensor, index: int) -> None:
        waves = waves.repeat(VAL_MASKINGS, 1)
        mask, negatives = self.draw(waves, Generator().manual_seed(index))
        # transformers before 5.23 draws for LayerDrop in evaluation, too.
        with torch.random.fork_rng(devices=[]):
            output = self(waves, mask, negatives)
        masked = int(mask.sum())  # as the batch size it makes the epoch's mean one over frames
        self.log("val/loss", output.contrastive_loss / masked, batch_size=masked)
        self.log("val/diversity", output.diversity_loss / masked, batch_size=masked)
        self.log("val/perplexity", output.codevector_perplexity, batch_size=masked)
        accuracy = ranked_first(
            output.projected_states, output.projected_quantized_states, mask, negatives
        )
        self.log("val/acc", accuracy, batch_size=masked)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        task = self.task
        return adamw(self, self.recipe, learning_rate=task.learning_rate, steps=task.steps)


def span_mask(batch: int, frames: int, generator: Generator | None = None) -> Tensor:
    """Boolean (batch, frames): as many spans of ``SPAN`` in each row, starting anywhere."""
    spans = max(1, round(MASK_SHARE * frames / SPAN))
    order = torch.rand(batch, frames - SPAN + 1, generator=generator).argsort(1)
    starts = order[:, :spans, None]
    covered = (starts + torch.arange(SPAN)).flatten(1)
    return torch.zeros(batch, frames, dtype=torch.bool).scatter_(1, covered, True)


def sample_negatives(mask: Tensor, count: int, generator: Generator | None = None) -> Tensor:
    """For each frame ``count`` other masked frames of its row, with replacement.

    Mask (B, T) -> indices (B, T, count) into the B·T frames of the batch.
    """
    batch, frames = mask.shape
    others = mask.unsqueeze(1) & ~torch.eye(frames, dtype=torch.bool)
    drawn = torch.multinomial(
        others.flatten(0, 1).float(), count, replacement=True, generator=generator
    )
    return drawn.view(batch, frames, count) + frames * torch.arange(batch).view(-1, 1, 1)


def gumbel_temperature(progress: float) -> float:
    """From 2 down to 0.5, exponentially, over the first 69 % of the budget.

    The paper's base model: 2 · 0.999995^update, at least 0.5, for 400,000 updates. A budget of
    a few hundred steps runs along the same curve, so ``progress`` is the share of it that is done.
    """
    return max(0.5, 2 * exp(400_000 * progress * log(0.999995)))


def ranked_first(predicted: Tensor, codes: Tensor, mask: Tensor, negatives: Tensor) -> Tensor:
    """Share of masked frames whose prediction is nearer to its own code than to any other.

    Negatives that carry the same code do not count against it, as in the loss. Predictions and
    codes (B, T, D), mask (B, T), negatives (B, T, K) -> a scalar.
    """
    guess, own = predicted[mask], codes[mask]  # (M, D)
    others = codes.flatten(0, 1)[negatives[mask]]  # (M, K, D)
    same = (others == own.unsqueeze(1)).all(-1)
    rivals = cosine_similarity(guess.unsqueeze(1), others, dim=-1).masked_fill(same, -torch.inf)
    return (cosine_similarity(guess, own, dim=-1) > rivals.amax(1)).float().mean()
