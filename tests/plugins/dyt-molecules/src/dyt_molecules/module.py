"""One transformer, used in two ways: pooled for a property, causal for the next token."""

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torchmetrics import MeanSquaredError

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.module import SupervisedModule
from dyt_bench.plugin.optim import adamw
from dyt_bench.plugin.task import Task
from dyt_molecules.data import LONGEST, MoleculeData
from dyt_molecules.tokens import PAD

WIDTH, LAYERS, HEADS = 64, 3, 4


class Transformer(nn.Module):
    """Pre-norm transformer with learned positions: tokens (B, T) int64 -> features (B, T, WIDTH).

    ``PAD`` is attended to by nobody; if ``causal``, neither is what comes after.
    """

    def __init__(self, vocabulary: int, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.tokens = nn.Embedding(vocabulary, WIDTH, padding_idx=PAD)
        self.positions = nn.Embedding(LONGEST + 2, WIDTH)  # START and END, too
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                WIDTH,
                HEADS,
                4 * WIDTH,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(LAYERS)
        )
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        x = self.tokens(tokens) + self.positions.weight[:length]
        ahead = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)
        for layer in self.layers:
            x = layer(x, ahead if self.causal else None, tokens == PAD)
        return self.norm(x)


class Regressor(nn.Module):
    """Tokens (B, T) int64 -> (B,), from the mean of the features of what is not padding."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.transformer = Transformer(vocabulary, causal=False)
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        there = (tokens != PAD).unsqueeze(-1)
        features = self.transformer(tokens).masked_fill(~there, 0.0)
        pooled = features.sum(1) / there.sum(1)
        value: Tensor = self.head(pooled).squeeze(-1)
        return value


def property_model(task: Task, data: MoleculeData, recipe: TrainingPreset) -> SupervisedModule:
    """Minimises squared error; logs ``val/rmse`` in standard deviations of the training set."""
    return SupervisedModule(
        Regressor(len(data.vocabulary)),
        mse_loss,
        task=task,
        training=recipe,
        metrics={"rmse": MeanSquaredError(squared=False)},
    )


@torch.no_grad()
def errors(module: SupervisedModule, data: MoleculeData) -> dict[str, float]:
    """Root mean square and mean absolute error on the validation set, in the property's unit."""
    batches = [(module(t.to(module.device)).cpu(), value) for t, value in data.val_dataloader()]
    predicted, measured = (torch.cat(side) for side in zip(*batches, strict=True))
    off = data.scale * (predicted - measured)
    return {"rmse": float(off.square().mean().sqrt()), "mae": float(off.abs().mean())}


class LanguageModel(LightningModule):
    """Minimises nats per token, padding left out; logs ``train/loss`` and ``val/loss``."""

    units_per_sample = 1

    def __init__(self, task: Task, data: MoleculeData, recipe: TrainingPreset) -> None:
        super().__init__()
        self.task, self.recipe = task, recipe
        self.transformer = Transformer(len(data.vocabulary), causal=True)
        self.head = nn.Linear(WIDTH, len(data.vocabulary))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) int64 -> logits (B, T, vocabulary) of the token after each."""
        logits: Tensor = self.head(self.transformer(tokens))
        return logits

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        tokens, _ = batch
        logits = self(tokens[:, :-1])
        return cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PAD)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        loss = self.loss(batch)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        targets = int((batch[0][:, 1:] != PAD).sum())  # a token counts as much in any batch
        self.log("val/loss", self.loss(batch), batch_size=targets)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        task = self.task
        return adamw(self, self.recipe, learning_rate=task.learning_rate, steps=task.steps)
