"""The data module: windows of tokens, which a model reads in one piece."""

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from dyt_bench.plugin.data import SeededDataModule, at_most
from dyt_bench.plugin.domain import DataError, entry
from dyt_llm.data.files import FILES
from dyt_llm.data.streams import streams

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

    Attributes:
        codec: between the text and its tokens.

    Args:
        dataset: its name in `dyt_llm.catalog`.
        path: of your own text.
        batch_size: windows of a training step, of all processes together.
        context: tokens that a model reads.
        train_samples: train on at most so many windows.
        skip_bad_files: leave out files that cannot be read; else they are an error.
        files: of the data set; None: all that it names.
        reader: names the model in errors.

    Raises:
        DataError: a file is not text, or there is too little for one batch or to hold out.
        UserError: no data set has that name.
    """

    def __init__(
        self,
        dataset: str = "kjv",
        path: str | Path | None = None,
        *,
        batch_size: int = 4,
        seed: int = 0,
        context: int = 128,
        train_samples: int | None = None,
        skip_bad_files: bool = False,
        files: Iterable[Path] | None = None,
        reader: str = "the model",
    ) -> None:
        folder = None if path is None else Path(path)
        if files is None:
            files = entry(FILES, dataset, "dataset")(folder)
        sides, self.codec = streams(dataset, list(files), skip=skip_bad_files)
        train, held_out = (Windows(stream, context) for stream in sides)
        samples = min(len(train), train_samples or len(train))
        for purpose, found, wanted in (
            ("train on", samples, batch_size),
            ("hold out", len(held_out), 1),
        ):
            if found < wanted:
                raise DataError(
                    f"{folder or dataset}: too little text to {purpose}: expected at least "
                    f"{wanted} windows of {context} tokens, the context of {reader}, got {found}; "
                    "add text, or choose a model with a shorter context or a smaller batch_size"
                )
        count = min(VAL_WINDOWS, len(held_out))
        spread = [index * len(held_out) // count for index in range(count)]
        super().__init__(
            at_most(train, train_samples),
            Subset(held_out, spread),
            batch_size=batch_size,
            seed=seed,
        )
        self.held_out, self.spread, self.context = held_out, spread, context

    def train_stream(self, most: int) -> Tensor:
        """(T,) int64, the first tokens of the training text, at most ``most``."""
        if isinstance(self.train, Windows):
            return self.train.stream[:most].long()
        chosen = range(min(len(cast(Subset[Tensor], self.train)), most // self.context))
        return torch.cat([self.train[index][:-1] for index in chosen])[:most]

    def val_windows(self) -> Tensor:
        """(N, context + 1) int64, all windows of a validation pass."""
        return torch.stack([self.held_out[index] for index in self.spread])
