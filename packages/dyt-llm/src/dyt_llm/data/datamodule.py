"""The data module: windows of tokens, which a model reads in one piece."""

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from dyt_bench.plugin.data import SeededDataModule, at_most
from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.task import Task
from dyt_llm.data.streams import streams
from dyt_llm.data.tokens import Codec
from dyt_llm.shapes import SHAPES

VAL_WINDOWS = 192  # at most, spread over the held-out text


class Windows(Dataset[Tensor]):
    """Windows ``(context + 1,)`` int64 of a token stream of any integer dtype.

    Each window starts at the last token of the previous one, so that every token but the first
    is predicted once.
    """

    def __init__(self, stream: Tensor, context: int) -> None:
        self.stream, self.context = stream, context

    def __len__(self) -> int:
        return max(0, len(self.stream) - 1) // self.context

    def __getitem__(self, index: int) -> Tensor:
        start = index * self.context
        return self.stream[start : start + self.context + 1].long()


class TextData(SeededDataModule):
    """Batches of windows ``(B, context + 1)`` int64: each token is the target of the one before.

    Args:
        train, held_out: windows of the text to train on, and of the text held out.
        codec: between that text and its tokens.
    """

    def __init__(self, train: Windows, held_out: Windows, codec: Codec, task: Task) -> None:
        count = min(VAL_WINDOWS, len(held_out))
        spread = [index * len(held_out) // count for index in range(count)]
        super().__init__(
            at_most(train, task.train_samples),
            Subset(held_out, spread),
            batch_size=task.batch_size,
            seed=task.seed,
        )
        self.held_out, self.spread = held_out, spread
        self.codec, self.context = codec, train.context

    def train_stream(self, most: int) -> Tensor:
        """(T,) int64, the first tokens of the training text, at most ``most``."""
        if isinstance(self.train, Windows):
            return self.train.stream[:most].long()
        chosen = range(min(len(cast(Subset[Tensor], self.train)), most // self.context))
        return torch.cat([self.train[index][:-1] for index in chosen])[:most]

    def val_windows(self) -> Tensor:
        """(N, context + 1) int64, all windows of a validation pass."""
        return torch.stack([self.held_out[index] for index in self.spread])


def build_data(task: Task, files: Iterable[Path]) -> TextData:
    """The data module of ``task.dataset``, read from ``files``.

    Raises:
        DataError: a file is not text, or there is too little for one batch or to hold out.
    """
    context = SHAPES[task.model].context
    sides, codec = streams(task.dataset, list(files), skip=task.skip_bad_files)
    train, held_out = (Windows(stream, context) for stream in sides)
    samples = min(len(train), task.train_samples or len(train))
    for purpose, found, wanted in (
        ("train on", samples, task.batch_size),
        ("hold out", len(held_out), 1),
    ):
        if found < wanted:
            raise DataError(
                f"{task.path or task.dataset}: too little text to {purpose}: expected at least "
                f"{wanted} windows of {context} tokens, the context of {task.model}, got {found}; "
                "add text, or choose a model with a shorter context or a smaller batch_size"
            )
    return TextData(train, held_out, codec, task)
