"""The data module of fine-tuning: which reader, which split, which batches."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset, Subset

from dyt_bench.plugin.data import SeededDataModule, at_most
from dyt_bench.plugin.domain import DataError, quoted
from dyt_bench.plugin.files import digest_files
from dyt_bench.plugin.task import Task
from dyt_images.folders import check_split, read_folder
from dyt_images.split import held_out
from dyt_pretrained.checkpoint import Checkpoint, length_of, read_checkpoint
from dyt_pretrained.data import encoding
from dyt_pretrained.data.images import held_digits, images_of, stacked
from dyt_pretrained.data.table import Table, divided, each, read_table, text_columns, texts_of
from dyt_pretrained.data.verses import read_verses

LENGTH = 128  # tokens of a text at most, unless the suite says otherwise
_IMAGES = {"digits", "images"}  # the data sets of images
_PREDICTED = {"sequence-classification": "book", "regression": "letters"}  # of a verse


@dataclass(frozen=True)
class Raw:
    """What simple methods read: texts, lists of words or images, and what is predicted."""

    inputs: Sequence[Any]
    targets: Sequence[Any]


@dataclass(frozen=True)
class Samples:
    """Samples to train on and held out, and what is known of them."""

    train: Dataset[Any]
    val: Dataset[Any]
    collate: Callable[[list[Any]], Any]
    classes: Sequence[str] = ()
    raw: tuple[Raw, Raw] = (Raw((), ()), Raw((), ()))
    mean: float = 0.0  # of a number that is predicted, over the training set
    std: float = 1.0


class FineTuningData(SeededDataModule):
    """Batches ``(inputs, targets)``; inputs are arguments of the model by name.

    Attributes:
        start: the checkpoint that training starts from.
        samples: the samples, and what is known of them.
        tokenizer: the checkpoint's; None for images.
    """

    def __init__(self, start: Checkpoint, samples: Samples, tokenizer: Any, task: Task) -> None:
        super().__init__(
            at_most(samples.train, task.train_samples),
            samples.val,
            batch_size=task.batch_size,
            seed=task.seed,
            collate_fn=samples.collate,
        )
        self.start, self.samples, self.tokenizer = start, samples, tokenizer


def build_data(task: Task, files: list[Path], folder: Path) -> FineTuningData:
    """The data module of ``task.dataset``, as the checkpoint's tokenizer or processor has it.

    Args:
        folder: the checkpoint's.

    Raises:
        DataError: the data cannot be read, or do not fit the head.
    """
    of_images = task.model == "image-classification"
    if of_images != (task.dataset in _IMAGES):
        kinds = ("images", "text") if of_images else ("text", "images")
        raise DataError(
            f"{task.path or task.dataset}: the data set {quoted(task.dataset)} holds {kinds[1]}, "
            f"and {quoted(task.model)} reads {kinds[0]}: name another of the two"
        )
    start = read_checkpoint(folder)
    if of_images:
        return FineTuningData(start, _images(task, files, start), None, task)
    if start.sees:
        raise DataError(f"{start.folder} takes images, and {quoted(task.model)} reads text")
    tokenizer = encoding.load_tokenizer(start)
    return FineTuningData(start, _texts(task, files[0], start, tokenizer), tokenizer, task)


def _images(task: Task, files: list[Path], start: Checkpoint) -> Samples:
    source: Path | str = task.path or task.dataset
    if task.dataset == "digits":
        held, classes = held_digits(start)
        samples: Dataset[Any] = held
        labels = list(held.labels)
        train, val = held_out(labels, classes, least=2, source=source)
    else:
        assert task.path is not None  # or `files` has raised
        key = task.data_digest or digest_files(files, task.path)
        folders = read_folder(task.path, files, key, skip=task.skip_bad_files)
        labels, classes = folders.labels, folders.classes
        train, val = held_out(labels, classes, least=2, source=source)
        check_split(folders, train, val, source)
        samples = images_of(folders, start)
    _check_classes(classes, source)
    return Samples(
        Subset(samples, train),
        Subset(samples, val),
        stacked,
        classes,
        (
            Raw(train, [labels[i] for i in train]),
            Raw(val, [labels[i] for i in val]),
        ),
    )


def _check_classes(classes: Sequence[str], source: object) -> None:
    if len(classes) < 2:
        raise DataError(
            f"{source}: one class alone, {quoted(list(classes))}: expected two or more, because "
            "whatever a model learns, it would always be right"
        )


def _texts(task: Task, file: Path, start: Checkpoint, tokenizer: Any) -> Samples:
    table = read_verses(file) if task.dataset == "verses" else read_table(file)
    label, column = task.option("label"), task.option("text")
    if task.dataset == "verses":
        label, column = _PREDICTED.get(task.model), "text"
    length = length_of(start, task.option("length"), LENGTH)
    if task.model in ("masked-lm", "causal-lm"):
        return _documents(task, table, column, tokenizer, length)
    if label is None:
        raise DataError(
            f"{table.source}: {quoted(task.model)} needs a label: name its column, as in "
            "options: {label: price}"
        )
    names = text_columns(table, label, column)
    if task.model == "token-classification":
        return _words(task, table, names[0], label, tokenizer, length)
    texts = texts_of(table, names)
    if task.model == "regression":
        return _numbers(task, table, texts, label, tokenizer, length)
    return _classes(task, table, texts, label, tokenizer, length)


def _classes(
    task: Task, table: Table, texts: Sequence[str], label: str, tokenizer: Any, length: int
) -> Samples:
    values = [str(value) for value in table.column(label)]
    classes = sorted(set(values))
    _check_classes(classes, table.source)
    if len(classes) > len(values) // 2:
        raise DataError(
            f"{table.source}: {quoted(label)} has {len(classes)} classes in {len(values)} rows: "
            "expected several rows a class; is it another column, or a number for the model "
            "'regression'?"
        )
    places = {name: place for place, name in enumerate(classes)}
    targets = [places[value] for value in values]
    sides = divided(table, texts, targets, task.option("split"))
    return _encoded(texts, targets, sides, tokenizer, length, classes=classes)


def _numbers(
    task: Task, table: Table, texts: Sequence[str], label: str, tokenizer: Any, length: int
) -> Samples:
    values = table.column(label)
    for row, value in enumerate(values, start=1):
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise DataError(
                f"{table.source}, row {row}: {quoted(label)} must be a number, got "
                f"{quoted(value)}; for classes choose the model 'sequence-classification'"
            )
    sides = divided(table, texts, None, task.option("split"))
    known = np.array([float(value) for value in each(values, sides[0])])
    mean, std = float(known.mean()), float(known.std())
    if not std:
        raise DataError(f"{table.source}: {quoted(label)} is {mean:g} in every row")
    targets = [(float(value) - mean) / std for value in values]
    return _encoded(texts, targets, sides, tokenizer, length, mean=mean, std=std)


def _encoded(
    texts: Sequence[str],
    targets: Sequence[Any],
    sides: tuple[list[int], list[int]],
    tokenizer: Any,
    length: int,
    **known: Any,
) -> Samples:
    raw = [Raw(list(each(texts, rows)), list(each(targets, rows))) for rows in sides]
    train, val = (
        encoding.Encoded(encoding.encode(tokenizer, part.inputs, length), part.targets)
        for part in raw
    )
    collate = partial(encoding.padded, pad=tokenizer.pad_token_id)
    return Samples(train, val, collate, raw=(raw[0], raw[1]), **known)


def _words(task: Task, table: Table, name: str, label: str, tokenizer: Any, length: int) -> Samples:
    words, tags = table.column(name), table.column(label)
    for row, (own, given) in enumerate(zip(words, tags, strict=True), start=1):
        if not isinstance(own, list) or not isinstance(given, list) or len(own) != len(given):
            raise DataError(
                f"{table.source}, row {row}: expected a list of words in {quoted(name)} and as "
                f"many tags in {quoted(label)}, got {quoted(own)} and {quoted(given)}"
            )
    classes = sorted({str(tag) for line in tags for tag in line})
    _check_classes(classes, table.source)
    places = {tag: place for place, tag in enumerate(classes)}
    targets = [[places[str(tag)] for tag in line] for line in tags]
    sides = divided(table, words, None, task.option("split"))
    raw = [Raw(list(each(words, rows)), list(each(targets, rows))) for rows in sides]
    train, val = (
        encoding.encode_words(tokenizer, part.inputs, part.targets, length) for part in raw
    )
    collate = partial(encoding.padded, pad=tokenizer.pad_token_id)
    return Samples(train, val, collate, classes, (raw[0], raw[1]))


def _documents(
    task: Task, table: Table, column: str | None, tokenizer: Any, length: int
) -> Samples:
    """Every token of every text: the one after it, or itself, is what is predicted."""
    texts = texts_of(table, text_columns(table, None, column))
    sides = divided(table, texts, None, task.option("split"))
    pieces = [encoding.encode_all(tokenizer, list(each(texts, rows)), length) for rows in sides]
    special = set(tokenizer.all_special_ids)
    targets = []
    for side in pieces:
        if task.model == "causal-lm":
            targets.append([[*ids[1:], encoding.IGNORED] for ids in side])
        else:
            targets.append([[encoding.IGNORED if i in special else i for i in ids] for ids in side])
    train, val = (encoding.Encoded(*each) for each in zip(pieces, targets, strict=True))
    collate = partial(encoding.padded, pad=tokenizer.pad_token_id)
    raw = Raw(pieces[0], ()), Raw(pieces[1], targets[1])
    return Samples(train, val, collate, raw=raw)
