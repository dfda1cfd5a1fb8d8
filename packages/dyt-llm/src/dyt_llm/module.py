"""The LightningModule of next-token prediction, with losses per byte and per token."""

from collections.abc import Callable
from functools import partial
from math import log
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
from torch.utils.checkpoint import checkpoint

from dyt_bench.plugin.data import summed
from dyt_bench.plugin.domain import Decays
from dyt_bench.plugin.module import TrainableModule, unsaved
from dyt_bench.plugin.optim import MakeOptimizer, MakeSchedule
from dyt_llm.data.tokens import Bytes
from dyt_llm.models import build


class LanguageModel(TrainableModule):
    """Minimises nats per token; logs ``train/loss`` and ``val/loss`` in nats per byte.

    Losses per byte compare across tokenizers. Also logged are ``val/bits_per_byte`` and, per
    token, ``val/loss_token`` (nats) and ``val/perplexity``. If tokens are bytes, both losses are
    equal.

    Args:
        model: called with ``input_ids`` (B, T) int64, its output has ``.logits`` (B, T,
            vocabulary), as transformers' models for causal language modelling; or the name of one
            in `dyt_llm.shapes`, which is built.
        token_bytes: (vocabulary,) int64, how many bytes of text each token stands for; None: the
            256 bytes themselves.
        context: tokens that a sample predicts, for units a second.
        learning_rate, optimizer, schedule, decays: as in `dyt_bench.plugin.optim.configured`.
        micro_batch: how many of a step's windows go through the model at once; None: all.
            Activations of each part are recomputed for the gradient, so a step takes the memory of
            one part.
        recompute_layers: whether activations inside a layer of a model of transformers are
            recomputed for the gradient.

    Raises:
        UserError: no model has that name.
    """

    token_bytes: Tensor

    def __init__(
        self,
        model: str | nn.Module = "llama",
        token_bytes: Tensor | None = None,
        *,
        context: int = 128,
        learning_rate: float = 1e-3,
        optimizer: MakeOptimizer = AdamW,
        schedule: MakeSchedule | None = None,
        decays: Decays = "matrices",
        micro_batch: int | None = None,
        recompute_layers: bool = False,
    ) -> None:
        super().__init__(learning_rate, optimizer, schedule, decays)
        self.save_hyperparameters(ignore=unsaved(model))
        if token_bytes is None:
            token_bytes = Bytes.token_bytes
        self.units_per_sample, self.micro_batch = context, micro_batch
        self.model = build(model, len(token_bytes)) if isinstance(model, str) else model
        if recompute_layers:
            for layer in self._layers():
                layer.forward = _recomputed(layer.forward)
        self.register_buffer("token_bytes", token_bytes, persistent=False)
        # Of the validation pass so far: nats, tokens, bytes.
        self.totals = torch.zeros(3, dtype=torch.float64)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) int64 -> logits (B, T, vocabulary) of the token after each."""
        logits: Tensor = self.model(input_ids=tokens).logits
        return logits

    def blocks(self) -> list[nn.Module]:
        """Of a model of transformers, the layers and at last the whole, for `strategy: fsdp2`."""
        return [*self._layers(), self.model]

    def _layers(self) -> nn.ModuleList:
        (layers,) = (m for m in self.model.modules() if isinstance(m, nn.ModuleList))
        return layers

    def token_nats(self, batch: Tensor) -> Tensor:
        """(B, T + 1) int64 -> (B, T) nats: the loss of each token but the first of a window."""
        logits = self(batch[:, :-1])
        return cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none")

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        nats, targets = self._nats(batch), batch[:, 1:]
        self.log("train/loss", nats.detach() / self.token_bytes[targets].sum())
        return nats / targets.numel()

    def on_validation_epoch_start(self) -> None:
        self.totals.zero_()

    def validation_step(self, batch: Tensor, index: int) -> None:
        targets = batch[:, 1:]
        nats, read = self._nats(batch).item(), int(self.token_bytes[targets].sum())
        self.totals += torch.tensor([nats, targets.numel(), read], dtype=torch.float64)

    def on_validation_epoch_end(self) -> None:
        # All nats over all bytes: a mean over batches would weight short tokens more than long.
        nats, tokens, read = summed(self.totals).tolist()
        by_byte, by_token = nats / read, nats / tokens
        found = {
            "val/loss": by_byte,
            "val/bits_per_byte": by_byte / log(2),
            "val/loss_token": by_token,
            "val/perplexity": torch.tensor(by_token).exp(),  # inf where math.exp would raise
        }
        self.log_dict(found, sync_dist=True)  # which are the same in every process

    def _nats(self, batch: Tensor) -> Tensor:
        """The loss summed over a batch (B, T + 1)."""
        parts = torch.split(batch, self.micro_batch or len(batch))
        if len(parts) == 1:
            return self._part_nats(batch)
        return torch.stack([_recomputed(self._part_nats)(part) for part in parts]).sum()

    def _part_nats(self, batch: Tensor) -> Tensor:
        logits = self(batch[:, :-1])
        return cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="sum")


def _recomputed(call: Callable[..., Any]) -> Callable[..., Any]:
    """The same, but what it computes is forgotten and computed again for the gradient."""
    # The models have no dropout: no random numbers are to be repeated.
    return partial(checkpoint, call, use_reentrant=False, preserve_rng_state=False)
