"""Texts -> tokens, by the checkpoint's own tokenizer, and batches of them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import AutoTokenizer

from dyt_bench.plugin.domain import DataError, reason
from dyt_pretrained.checkpoint import Checkpoint

IGNORED = -100  # a target that no loss counts
Inputs = dict[str, Tensor]


def load_tokenizer(start: Checkpoint) -> Any:
    """The tokenizer of a checkpoint, with a token for padding.

    Raises:
        DataError: the folder has none that transformers can build, or one of another model.
    """
    folder, said = start.folder, ""
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        # Of some classes transformers makes an empty one where the folder has no vocabulary.
        if len(tokenizer) <= len(tokenizer.all_special_ids):
            said = "it has no vocabulary"
    except Exception as error:  # libraries raise anything for what they lack
        said = reason(error)
    if said:
        raise DataError(
            f"{folder} has no tokenizer that transformers can load ({said}): expected "
            "tokenizer.json or its vocabulary, as save_pretrained of the tokenizer writes them"
        )
    size = start.config.get("vocab_size")
    if isinstance(size, int) and len(tokenizer) > size:
        raise DataError(
            f"{folder}: its tokenizer has {len(tokenizer)} tokens, and its model {size}: expected "
            "the tokenizer that the model was trained with"
        )
    if tokenizer.pad_token_id is None:  # GPT-2's and LLaMA's have none
        if tokenizer.eos_token is None:
            raise DataError(f"{folder}: its tokenizer has neither a token for padding nor an end")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


class Encoded(Dataset[tuple[list[int], Any]]):
    """``(ids, target)``."""

    def __init__(self, ids: Sequence[list[int]], targets: Sequence[Any]) -> None:
        self.ids, self.targets = ids, targets

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[list[int], Any]:
        return self.ids[index], self.targets[index]


def encode(tokenizer: Any, texts: Sequence[str], length: int) -> list[list[int]]:
    """The tokens of each text, cut to the length."""
    ids: list[list[int]] = tokenizer(list(texts), truncation=True, max_length=length)["input_ids"]
    return ids


def encode_all(tokenizer: Any, texts: Sequence[str], length: int) -> list[list[int]]:
    """The tokens of all texts, in pieces of the length; those of one token have nothing to say."""
    options = {"return_overflowing_tokens": True} if tokenizer.is_fast else {}
    found = tokenizer(list(texts), truncation=True, max_length=length, **options)["input_ids"]
    return [ids for ids in found if len(ids) > 1]


def encode_words(
    tokenizer: Any, words: Sequence[Sequence[str]], tags: Sequence[Sequence[int]], length: int
) -> Encoded:
    """Tokens of each list of words; a word's first token has its tag, all others have none.

    Raises:
        DataError: the tokenizer does not say which token is of which word.
    """
    if not tokenizer.is_fast:
        raise DataError(
            "token classification needs a tokenizer with tokenizer.json, which says which token "
            "is of which word"
        )
    found = tokenizer(
        [list(each) for each in words], is_split_into_words=True, truncation=True, max_length=length
    )
    targets = []
    for row, own in enumerate(tags):
        before, line = None, []
        for word in found.word_ids(row):
            line.append(IGNORED if word is None or word == before else own[word])
            before = word
        targets.append(line)
    return Encoded(found["input_ids"], targets)


def padded(samples: Sequence[tuple[list[int], Any]], pad: int) -> tuple[Inputs, Tensor]:
    """A batch: ``input_ids`` and ``attention_mask`` (B, T), and the targets.

    Targets are (B,), or (B, T) where each token has one.
    """
    ids = [torch.tensor(each) for each, _ in samples]
    rows = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=pad)
    lengths = torch.tensor([len(each) for each in ids])
    mask = (torch.arange(rows.shape[1])[None] < lengths[:, None]).long()
    targets = [target for _, target in samples]
    if isinstance(targets[0], list):
        lines = [torch.tensor(each) for each in targets]
        return _batch(rows, mask), torch.nn.utils.rnn.pad_sequence(
            lines, batch_first=True, padding_value=IGNORED
        )
    return _batch(rows, mask), torch.tensor(targets)


def _batch(rows: Tensor, mask: Tensor) -> Inputs:
    return {"input_ids": rows, "attention_mask": mask}
