"""Text in windows of tokens: bytes, or a byte-level BPE. Whole files are held out."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from zlib import crc32

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from torch import Tensor
from torch.utils.data import Dataset, Subset

from dyt_bench.cell import Task
from dyt_bench.domain import DataError
from dyt_bench.loading import SeededDataModule

CONTEXT = 128  # tokens the model reads, and predicts, in one window
VAL_WINDOWS = 192  # of the held-out text: a validation pass takes about half a second
ONE_IN = 10  # files, by the hash of their names, are held out
FEW_FILES = 5  # with fewer, the end of each is held out instead
BPE_TOKENS = 1024


class Windows(Dataset[Tensor]):
    """Windows ``(CONTEXT + 1,)`` int64 of a token stream of any integer dtype.

    Each starts at the last token of the one before, so that every token but the first is
    predicted once.
    """

    def __init__(self, tokens: Tensor) -> None:
        self.tokens = tokens

    def __len__(self) -> int:
        return max(0, len(self.tokens) - 1) // CONTEXT

    def __getitem__(self, index: int) -> Tensor:
        start = index * CONTEXT
        return self.tokens[start : start + CONTEXT + 1].long()


class TextData(SeededDataModule):
    """Batches of windows ``(B, CONTEXT + 1)`` int64: each token is the one before's target.

    Args:
        token_bytes: (vocabulary,) how many bytes of text each token stands for.
    """

    def __init__(self, train: Windows, val: Windows, token_bytes: Tensor, task: Task) -> None:
        count = min(VAL_WINDOWS, len(val))
        spread = [index * len(val) // count for index in range(count)]
        super().__init__(train, Subset(val, spread), batch_size=task.batch_size, seed=task.seed)
        self.token_bytes = token_bytes


def text_data(task: Task, files: Iterable[Path]) -> TextData:
    """The data module of ``task.dataset``, read from ``files``.

    Raises:
        DataError: too little text for one batch, or none to hold out.
    """
    train, val = split([(file.name, file.read_bytes()) for file in files])
    if task.dataset == "stdlib-bpe":
        tokenizer = train_bpe(train)
        windows = Windows(_encode(tokenizer, train)), Windows(_encode(tokenizer, val))
        token_bytes = _token_bytes(tokenizer)
    else:
        windows = Windows(_as_bytes(train)), Windows(_as_bytes(val))
        token_bytes = torch.ones(256, dtype=torch.int64)
    for purpose, found, wanted in zip(
        ("train on", "hold out"), map(len, windows), (task.batch_size, 1), strict=True
    ):
        if found < wanted:
            raise DataError(
                f"{task.path or task.dataset}: too little text to {purpose}: expected at least "
                f"{wanted} windows of {CONTEXT} tokens, got {found}; add text"
            )
    return TextData(*windows, token_bytes, task)


def split(texts: list[tuple[str, bytes]]) -> tuple[list[bytes], list[bytes]]:
    """Training and held-out texts, given (file name, text).

    A hash of its name decides a file's side, so files that come or go move no other. With fewer
    than five files, or one name for all, the last tenth of each is held out.
    """
    hashes = {name: crc32(name.encode()) for name, _ in texts}
    held_out = {name for name, value in hashes.items() if value % ONE_IN == 0}
    held_out = held_out or {min(hashes, key=hashes.__getitem__)}
    if len(texts) < FEW_FILES or held_out == hashes.keys():
        cuts = [(text, len(text) - len(text) // ONE_IN) for _, text in texts]
        return [text[:cut] for text, cut in cuts], [text[cut:] for text, cut in cuts]
    return (
        [text for name, text in texts if name not in held_out],
        [text for name, text in texts if name in held_out],
    )


def train_bpe(texts: list[bytes]) -> Tokenizer:
    """A byte-level BPE of 1,024 tokens; the same texts give the same tokens."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(
        vocab_size=BPE_TOKENS, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(_decoded(texts), trainer)
    return tokenizer


def _decoded(texts: list[bytes]) -> Iterator[str]:
    return (_ended(text).decode(errors="replace") for text in texts)


def _ended(text: bytes) -> bytes:
    """A newline between a file and the next, which may lack its last one."""
    return text + b"\n"


def _as_bytes(texts: list[bytes]) -> Tensor:
    # bytearray: torch warns of memory it may not write to
    return torch.frombuffer(bytearray(b"".join(map(_ended, texts))), dtype=torch.uint8)


def _encode(tokenizer: Tokenizer, texts: list[bytes]) -> Tensor:
    encodings = tokenizer.encode_batch_fast(list(_decoded(texts)))
    return torch.cat([torch.tensor(e.ids, dtype=torch.int16) for e in encodings])


def _token_bytes(tokenizer: Tokenizer) -> Tensor:
    """How many bytes each token stands for: a byte-level token has one character a byte."""
    indices = tokenizer.get_vocab()
    return torch.tensor([len(token) for token in sorted(indices, key=indices.__getitem__)])
