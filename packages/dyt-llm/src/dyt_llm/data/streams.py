"""Streams of tokens: a data set's text in its codec, in memory or mapped from the disk."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import tokenizers
import torch
from torch import Tensor

from dyt_bench.plugin.derived import derived
from dyt_bench.plugin.files import digest_files
from dyt_bench.plugin.task import digest
from dyt_llm.data import tokens
from dyt_llm.data.documents import Document, documents
from dyt_llm.data.files import GPT2_FILES, TOKENIZER

IN_MEMORY = 2**26  # bytes of text; more is read from the disk as it is used
_AT_ONCE = 2**20  # characters that are encoded together
_FORMAT = 2  # of derived files; raise it when their content changes

Streams = tuple[Tensor, Tensor]  # tokens (T,) to train on, and those held out


def streams(dataset: str, files: list[Path], *, skip: bool = False) -> tuple[Streams, tokens.Codec]:
    """The tokens of a data set's text, and the codec that made them.

    Args:
        dataset: its name.
        files: text files and tables, and a tokenizer if the data set has one of its own.
        skip: leave out what cannot be read; else it is an error.

    Raises:
        DataError: a file is not text, a tokenizer cannot be read, or the cache not written.
    """
    own = sorted(file for file in files if file.name in (TOKENIZER, *GPT2_FILES))
    text = [file for file in files if file not in own]
    if dataset == "stdlib-bpe":
        folder = derived(_name("bpe", files), lambda path: _write_bpe(text, path))
        bpe = tokens.saved(folder / TOKENIZER)
        return _mapped(folder, bpe), bpe
    codec = _given(own) if own else tokens.Bytes()
    if not own and sum(file.stat().st_size for file in text) < IN_MEMORY:
        return _in_memory(text, codec, skip), codec
    name = _name(f"{'tokens' if own else 'bytes'}{'-skipped' if skip else ''}", files)
    folder = derived(name, lambda path: _write(documents(text, skip=skip), codec, path))
    return _mapped(folder, codec), codec


def _given(own: list[Path]) -> tokens.Subwords:
    """The tokenizer that comes with the text: a tokenizer.json, or GPT-2's two files."""
    return tokens.saved(own[0]) if len(own) == 1 else tokens.gpt2(*own)


def _name(kind: str, files: list[Path]) -> str:
    """The name in the cache of what is made from ``files``."""
    key = digest(_FORMAT, tokenizers.__version__, kind, digest_files(files))
    return f"llm/{kind}-{key}"


def _write_bpe(text: list[Path], folder: Path) -> None:
    """A tokenizer trained on the training files, and the text in its tokens."""
    folder.mkdir()
    to_train_on = (text for text, held_out in documents(text) if not held_out)
    codec = tokens.trained(to_train_on, folder / TOKENIZER)
    _write(documents(text), codec, folder)


def _write(documents: Iterable[Document], codec: tokens.Codec, folder: Path) -> None:
    """Encode documents into the files ``train`` and ``val`` of ``folder``, a part at a time."""
    folder.mkdir(exist_ok=True)
    with open(folder / "train", "wb") as train, open(folder / "val", "wb") as val:
        for texts in parts(documents):
            for side, file in ((False, train), (True, val)):
                stream = codec.stream([text for text, held_out in texts if held_out is side])
                file.write(stream.numpy().tobytes())


def parts(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Documents in lists of about a million characters; a longer one is a list by itself."""
    part: list[Document] = []
    size = 0
    for document in documents:
        if part and size + len(document[0]) > _AT_ONCE:
            yield part
            part, size = [], 0
        part.append(document)
        size += len(document[0])
    if part:
        yield part


def _mapped(folder: Path, codec: tokens.Codec) -> Streams:
    """What `_write` wrote, read from the disk as it is used."""
    train, val = (_map(folder / side, codec.dtype) for side in ("train", "val"))
    return train, val


def _map(file: Path, dtype: torch.dtype) -> Tensor:
    count = file.stat().st_size // dtype.itemsize
    if not count:  # torch cannot map an empty file
        return torch.empty(0, dtype=dtype)
    return torch.from_file(str(file), shared=False, size=count, dtype=dtype)


def _in_memory(text: list[Path], codec: tokens.Codec, skip: bool) -> Streams:
    texts = list(documents(text, skip=skip))
    train, val = (
        codec.stream([text for text, held_out in texts if held_out is side])
        for side in (False, True)
    )
    return train, val
