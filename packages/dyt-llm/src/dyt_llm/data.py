"""Windows of tokens: what a model reads in one piece."""

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from dyt_bench.plugin.data import SeededDataModule, at_most
from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.task import Task
from dyt_llm import tokens
from dyt_llm.corpora import GPT2_FILES, TOKENIZER
from dyt_llm.documents import documents
from dyt_llm.shapes import SHAPES

VAL_WINDOWS = 192  # at most, spread over the held-out text
IN_MEMORY = 2**26  # bytes of text; longer ones are read from the disk as they are used


class Windows(Dataset[Tensor]):
    """Windows ``(context + 1,)`` int64 of a token stream of any integer dtype.

    Each starts at the last token of the one before, so that every token but the first is
    predicted once.
    """

    def __init__(self, stream: Tensor, context: int) -> None:
        self.stream, self.context = stream, context

    def __len__(self) -> int:
        return max(0, len(self.stream) - 1) // self.context

    def __getitem__(self, index: int) -> Tensor:
        start = index * self.context
        return self.stream[start : start + self.context + 1].long()


class TextData(SeededDataModule):
    """Batches of windows ``(B, context + 1)`` int64: each token is the one before's target.

    Args:
        train, held_out: windows of the two sides' text.
        codec: whose tokens they are.
    """

    def __init__(self, train: Windows, held_out: Windows, codec: tokens.Codec, task: Task) -> None:
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
        """(T,) int64, the first tokens of the text that is trained on, ``most`` of them."""
        if isinstance(self.train, Windows):
            return self.train.stream[:most].long()
        chosen = range(min(len(cast(Subset[Tensor], self.train)), most // self.context))
        return torch.cat([self.train[index][:-1] for index in chosen])[:most]

    def val_windows(self) -> Tensor:
        """(N, context + 1) int64, all that a validation pass reads."""
        return torch.stack([self.held_out[index] for index in self.spread])


def text_data(task: Task, files: Iterable[Path]) -> TextData:
    """The data module of ``task.dataset``, read from ``files``.

    Raises:
        DataError: a file is no text, or there is too little for one batch or to hold out.
    """
    context = SHAPES[task.model].context
    streams, codec = _streams(task.dataset, list(files))
    train, held_out = (Windows(stream, context) for stream in streams)
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


def _streams(dataset: str, files: list[Path]) -> tuple[tokens.Streams, tokens.Codec]:
    """The tokens of the data set's text, and whose they are."""
    own = sorted(file for file in files if file.name in (TOKENIZER, *GPT2_FILES))
    text = [file for file in files if file not in own]
    if dataset == "stdlib-bpe":
        folder = tokens.kept(files, "bpe", lambda folder: _make_bpe(text, folder))
        bpe = tokens.saved(folder / TOKENIZER)
        return tokens.map_streams(folder, bpe), bpe
    codec = tokens.Bytes() if not own else _given(own)
    if not own and sum(file.stat().st_size for file in text) < IN_MEMORY:
        return _in_memory(text, codec), codec
    name = "bytes" if not own else "tokens"
    folder = tokens.kept(
        files, name, lambda folder: tokens.write_streams(documents(text), codec, folder)
    )
    return tokens.map_streams(folder, codec), codec


def _given(own: list[Path]) -> tokens.Subwords:
    """The tokenizer that comes with the text: a tokenizer.json, or GPT-2's two files."""
    return tokens.saved(own[0]) if len(own) == 1 else tokens.gpt2(*own)


def _make_bpe(text: list[Path], folder: Path) -> None:
    to_train_on = (text for text, held_out in documents(text) if not held_out)
    codec = tokens.trained(to_train_on, folder / TOKENIZER)
    tokens.write_streams(documents(text), codec, folder)


def _in_memory(text: list[Path], codec: tokens.Codec) -> tokens.Streams:
    texts = list(documents(text))
    train, val = (
        codec.stream([text for text, held_out in texts if held_out is side])
        for side in (False, True)
    )
    return train, val
