"""Text into tokens: bytes, or a byte-level BPE, kept as files that are mapped into memory."""

import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import tokenizers
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from torch import Tensor

from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.fetch import cache
from dyt_bench.plugin.files import digest_files
from dyt_bench.plugin.task import digest
from dyt_llm.documents import Document

BPE_TOKENS = 1024
_END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>")  # GPT-2's and its followers', LLaMA 3's
_AT_ONCE = 2**20  # characters that are encoded together
Streams = tuple[Tensor, Tensor]  # tokens (T,) to train on, and those held out
_FORMAT = 1  # of what is kept: another number, and it is made anew


class Codec(ABC):
    """Text to tokens and back."""

    token_bytes: Tensor  # (vocabulary,) int64, how many bytes of text each token stands for
    dtype: torch.dtype  # of tokens as they are kept

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without anything around it."""

    @abstractmethod
    def decode(self, tokens: list[int]) -> str:
        """The text of tokens; a letter cut in two gives a replacement sign."""

    @abstractmethod
    def stream(self, texts: list[str]) -> Tensor:
        """The tokens of documents, one after the other, each with its end: (T,), any integer."""


class Bytes(Codec):
    """A token is a byte of UTF-8; a document ends with a newline."""

    token_bytes = torch.ones(256, dtype=torch.int64)
    dtype = torch.uint8

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, tokens: list[int]) -> str:
        return bytes(tokens).decode(errors="replace")

    def stream(self, texts: list[str]) -> Tensor:
        # bytearray: torch warns of memory it may not write to
        raw = bytearray("".join(f"{text}\n" for text in texts).encode())
        return torch.frombuffer(raw, dtype=self.dtype) if raw else torch.empty(0, dtype=self.dtype)


class Subwords(Codec):
    """A byte-level BPE; a document ends with its end-of-text token, or a newline if it has none.

    Args:
        tokenizer: of Hugging Face's tokenizers.
        source: names it in errors.

    Raises:
        DataError: its tokens do not stand for bytes.
    """

    def __init__(self, tokenizer: Tokenizer, source: str) -> None:
        if "ByteLevel" not in repr(tokenizer.decoder):
            raise DataError(
                f"{source}: not a byte-level BPE, as GPT-2's and LLaMA 3's are: loss by the byte "
                "cannot be counted in its tokens"
            )
        self.tokenizer = tokenizer
        indices = tokenizer.get_vocab(with_added_tokens=True)
        special = tokenizer.get_added_tokens_decoder()
        self.token_bytes = torch.zeros(max(indices.values()) + 1, dtype=torch.int64)
        for token, index in indices.items():
            # One character a byte; what marks the end of a text stands for none of it.
            own = index in special or token in _END_OF_TEXT
            self.token_bytes[index] = 0 if own else len(token)
        self.dtype = torch.uint16 if len(self.token_bytes) <= 2**16 else torch.int32
        self.end = next((indices[mark] for mark in _END_OF_TEXT if mark in indices), None)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, tokens: list[int]) -> str:
        text: str = self.tokenizer.decode(tokens)
        return text

    def stream(self, texts: list[str]) -> Tensor:
        if self.end is None:
            texts = [f"{text}\n" for text in texts]
        encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        end = [] if self.end is None else [self.end]
        ids = [torch.tensor([*e.ids, *end], dtype=self.dtype) for e in encodings]
        return torch.cat(ids) if ids else torch.empty(0, dtype=self.dtype)


def gpt2(vocabulary: Path, merges: Path) -> Subwords:
    """GPT-2's tokenizer, of the files that OpenAI published."""
    model = BPE.from_file(str(vocabulary), str(merges))
    return Subwords(_byte_level(model), str(vocabulary))


def saved(file: Path) -> Subwords:
    """The tokenizer of a ``tokenizer.json``.

    Raises:
        DataError: it cannot be read, or is not byte-level.
    """
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing more precise
        raise DataError(f"{file} is no tokenizer of Hugging Face's tokenizers: {error}") from error
    return Subwords(tokenizer, str(file))


def trained(texts: Iterable[str], file: Path) -> Subwords:
    """A byte-level BPE of 1,024 tokens, kept in ``file``; the same texts give the same tokens."""
    tokenizer = _byte_level(BPE())
    trainer = BpeTrainer(
        vocab_size=BPE_TOKENS, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator((f"{text}\n" for text in texts), trainer)
    tokenizer.save(str(file))
    return Subwords(tokenizer, str(file))


def _byte_level(model: BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    return tokenizer


def kept(files: list[Path], name: str, make: Callable[[Path], None]) -> Path:
    """A folder of the cache that ``make`` fills once for these files, whole or not at all.

    Args:
        files: what it is made from; it is made anew when one of them changes.
        name: what it is, "gpt2": another one is made for the same files.

    Raises:
        DataError: the cache cannot be written to.
    """
    # Of large files the digest is of names and sizes alone: the time tells of a change.
    changed = max(file.stat().st_mtime_ns for file in files)
    key = digest(_FORMAT, tokenizers.__version__, name, digest_files(files), changed)
    folder = cache() / "derived" / "llm" / f"{name}-{key}"
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f"{name}-", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise DataError(
            f"cannot keep tokens below {cache()}: {error.strerror}; set DYT_BENCH_DATA to a "
            "folder that can be written to"
        ) from None
    try:
        make(scratch)
        scratch.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster, and made the same
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def write_streams(documents: Iterable[Document], codec: Codec, folder: Path) -> None:
    """Encode documents into the files ``train`` and ``val`` of ``folder``, a part at a time."""
    with open(folder / "train", "wb") as train, open(folder / "val", "wb") as val:
        for texts in parts(documents):
            for side, file in ((False, train), (True, val)):
                tokens = codec.stream([text for text, held_out in texts if held_out is side])
                file.write(tokens.numpy().tobytes())


def parts(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Documents in lists of about a million characters; one that is longer is a list of its own."""
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


def map_streams(folder: Path, codec: Codec) -> Streams:
    """What `write_streams` wrote, read from the disk as it is used."""
    train, val = (_mapped(folder / side, codec.dtype) for side in ("train", "val"))
    return train, val


def _mapped(file: Path, dtype: torch.dtype) -> Tensor:
    count = file.stat().st_size // dtype.itemsize
    if not count:  # torch maps no empty file
        return torch.empty(0, dtype=dtype)
    return torch.from_file(str(file), shared=False, size=count, dtype=dtype)
