"""Codecs between text and tokens: bytes, or subwords that stand for bytes."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from torch import Tensor

from dyt_bench.plugin.domain import DataError, reason
from dyt_bench.plugin.notices import notice

BPE_TOKENS = 1024
_END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>")  # GPT-2's and its followers', LLaMA 3's
_END_OF_PIECES = ("</s>", "<eos>")  # LLaMA's and Mistral's, Gemma's
_MOST = 2**21  # tokens of a vocabulary; Gemma's has 2**18
_BYTE = re.compile("<0x[0-9A-F]{2}>")


class Codec(ABC):
    """Text to tokens and back."""

    token_bytes: Tensor  # (vocabulary,) int64, how many bytes of text each token stands for
    dtype: torch.dtype  # of a stream of tokens

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without any that mark its beginning or end."""

    @abstractmethod
    def decode(self, tokens: list[int]) -> str:
        """The text of tokens; a letter cut in two becomes a replacement character."""

    @abstractmethod
    def stream(self, texts: list[str]) -> Tensor:
        """(T,) of `dtype`: the tokens of documents one after the other, each with its end."""


class Bytes(Codec):
    """A token is a byte of UTF-8; a document ends with a newline."""

    token_bytes = torch.ones(256, dtype=torch.int64)
    dtype = torch.uint8

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, tokens: list[int]) -> str:
        return bytes(tokens).decode(errors="replace")

    def stream(self, texts: list[str]) -> Tensor:
        # bytearray: torch warns of memory that it may not write to
        raw = bytearray("".join(f"{text}\n" for text in texts).encode())
        return torch.frombuffer(raw, dtype=self.dtype) if raw else torch.empty(0, dtype=self.dtype)


class Subwords(Codec):
    """Subwords that stand for bytes; a document ends with its end-of-text token, or a newline.

    Either a byte-level BPE, as GPT-2's and LLaMA 3's, or SentencePiece's with a token for each byte
    that no subword covers, as LLaMA's and Mistral's, which writes a space before each document.

    Args:
        tokenizer: of Hugging Face's tokenizers.
        source: names it in errors.

    Raises:
        DataError: its tokens do not stand for bytes, or have numbers of two million and more.
    """

    def __init__(self, tokenizer: Tokenizer, source: str) -> None:
        is_byte_level = "ByteLevel" in repr(tokenizer.decoder)
        if not is_byte_level and not _has_all_bytes(tokenizer):
            raise DataError(
                f"{source}: not a byte-level BPE, as GPT-2's and LLaMA 3's are, nor one of "
                "SentencePiece with byte_fallback, as LLaMA's: without either, loss per byte "
                "cannot be computed"
            )
        self.tokenizer, self.source = tokenizer, source
        indices = tokenizer.get_vocab(with_added_tokens=True)
        if (highest := max(indices.values(), default=0)) >= _MOST:
            raise DataError(
                f"{source}: its tokens are numbered up to {highest:,}: expected less than "
                f"{_MOST:,}, as a model has weights for every number"
            )
        special = tokenizer.get_added_tokens_decoder()
        self.token_bytes = torch.zeros(highest + 1, dtype=torch.int64)
        for token, index in indices.items():
            # What marks the beginning or the end of a text stands for no byte.
            own = index in special or token in _END_OF_TEXT
            # In a byte-level BPE one character stands for one byte.
            length = len(token) if is_byte_level else _bytes_of_piece(token)
            self.token_bytes[index] = 0 if own else length
        self.dtype = torch.uint16 if len(self.token_bytes) <= 2**16 else torch.int32
        ends = _END_OF_TEXT if is_byte_level else (*_END_OF_TEXT, *_END_OF_PIECES)
        self.end = next((indices[mark] for mark in ends if mark in indices), None)
        self._prefix = int(self.token_bytes[self.encode("a")].sum()) - 1

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
        stream = torch.cat(ids) if ids else torch.empty(0, dtype=self.dtype)
        self._check(texts, stream)
        return stream

    def _check(self, texts: list[str], stream: Tensor) -> None:
        """Notice where the tokens stand for other bytes than the text: of a normalizer, say."""
        expected = sum(len(text.encode()) + self._prefix for text in texts if text)
        got = int(self.token_bytes[stream.long()].sum())
        if got != expected:
            what = "bytes that the tokenizer adds to the text or leaves out of it"
            notice(what, self.source, abs(got - expected))


def _has_all_bytes(tokenizer: Tokenizer) -> bool:
    """Whether it falls back to bytes, and so leaves nothing of a text out."""
    model = json.loads(tokenizer.to_str())["model"]
    known = tokenizer.get_vocab(with_added_tokens=False)
    return bool(model.get("byte_fallback")) and all(f"<0x{n:02X}>" in known for n in range(256))


def _bytes_of_piece(piece: str) -> int:
    """SentencePiece writes a space as a low block, and a byte as ``<0xE4>``."""
    return 1 if _BYTE.fullmatch(piece) else len(piece.replace("\u2581", " ").encode())


def gpt2(vocabulary: Path, merges: Path) -> Subwords:
    """GPT-2's tokenizer, from the two files that OpenAI published."""
    model = BPE.from_file(str(vocabulary), str(merges))
    return Subwords(_byte_level(model), str(vocabulary))


def saved(file: Path) -> Subwords:
    """The tokenizer that a ``tokenizer.json`` holds.

    Raises:
        DataError: it cannot be read, or its tokens do not stand for bytes.
    """
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing more precise
        raise DataError(
            f"{file} is no tokenizer of Hugging Face's tokenizers: {reason(error)}"
        ) from error
    return Subwords(tokenizer, str(file))


def trained(texts: Iterable[str], file: Path) -> Subwords:
    """Train a byte-level BPE of 1,024 tokens and write it to ``file``; it is deterministic."""
    tokenizer = _byte_level(BPE())
    trainer = BpeTrainer(
        vocab_size=BPE_TOKENS, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator((f"{text}\n" for text in texts), trainer)
    # Not by its own save(), which does not report a full disk as an OSError.
    file.write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    return Subwords(tokenizer, str(file))


def _byte_level(model: BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    return tokenizer
