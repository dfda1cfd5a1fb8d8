"""Labelled sequences for classification: species, and folders laid out as GenomicBenchmarks."""

import logging
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import nll_loss
from torch.utils.data import Dataset

from dyt_bench.plugin.data import SeededDataModule, at_most
from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.fetch import cache
from dyt_bench.plugin.files import digest_files
from dyt_bench.plugin.task import Task, digest
from dyt_dna.bases import BASES, UNKNOWN
from dyt_dna.catalog import ARCHITECTURES, SPECIES
from dyt_dna.sequences import read_sequences, tokens_of
from dyt_dna.splits import held_out_ends

PIECES = 400, 100  # of each species: to train on, and of the last tenth of its genome
_KEEP_ABOVE = 1000  # files, from which on what they hold is kept in the cache as one
_GC = [BASES.index("G"), BASES.index("C")]
_log = logging.getLogger(__name__)

Labelled = tuple[Tensor, Tensor]  # tokens (L,) int64, N where a sequence is over; class () int64


@dataclass(frozen=True)
class Sequences:
    """Sequences of any length, one after another, with their classes."""

    tokens: Tensor  # (all bases,) uint8
    ends: Tensor  # (sequences,) int64, in ``tokens``
    classes: Tensor  # (sequences,) int64

    @classmethod
    def join(cls, parts: list[Tensor], classes: list[int]) -> "Sequences":
        ends = torch.tensor([len(part) for part in parts]).cumsum(0)
        return cls(torch.cat(parts), ends, torch.tensor(classes))

    @property
    def lengths(self) -> Tensor:
        return self.ends.diff(prepend=self.ends.new_zeros(1))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> Tensor:
        start = int(self.ends[index - 1]) if index else 0
        return self.tokens[start : int(self.ends[index])]


class Padded(Dataset[Labelled]):
    """Sequences cut or padded with N to one ``length``."""

    def __init__(self, sequences: Sequences, length: int) -> None:
        self.sequences, self.length = sequences, length

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: int) -> Labelled:
        padded = torch.full((self.length,), UNKNOWN)
        tokens = self.sequences[index][: self.length]
        padded[: len(tokens)] = tokens
        return padded, self.sequences.classes[index]


class LabelledData(SeededDataModule):
    """Batches ``(tokens (B, L) int64, classes (B,) int64)``.

    L is the longest sequence's length, or what the model reads if that is less.

    Raises:
        DataError: fewer sequences than a batch.
    """

    def __init__(self, train: Sequences, val: Sequences, names: list[str], task: Task) -> None:
        reads = ARCHITECTURES[task.model].length
        lengths = torch.cat([train.lengths, val.lengths])
        self.length, self.names = min(int(lengths.max()), reads), names
        if cut := int((lengths > reads).sum()):
            _log.warning("%d sequences are cut after %d bases, what the model reads", cut, reads)
        samples = at_most(Padded(train, self.length), task.train_samples)
        if (count := len(samples)) < task.batch_size:  # type: ignore[arg-type]
            raise DataError(
                f"there are {count} training sequences: give more, or a batch_size of at most "
                f"that instead of {task.batch_size}"
            )
        self.sequences = train, val
        super().__init__(
            samples, Padded(val, self.length), batch_size=task.batch_size, seed=task.seed
        )


def labelled_data(task: Task, files: list[Path]) -> LabelledData:
    """The data module of ``task.dataset``, read from ``files``.

    Raises:
        DataError: a file cannot be read, or they are not laid out as they should be.
    """
    return species_data(task, files) if task.dataset == "species" else folder_data(task, files)


def species_data(task: Task, files: Iterable[Path]) -> LabelledData:
    """Stretches of four bacteria's genomes, as long as the model reads, evenly spread."""
    length = ARCHITECTURES[task.model].length
    parts: tuple[list[Tensor], list[Tensor]] = [], []
    classes: tuple[list[int], list[int]] = [], []
    by_name = {Path(file).name: number for number, file in enumerate(SPECIES.values())}
    for file in files:
        split = held_out_ends(read_sequences(file), length, file)
        for use, stretches in enumerate((split.train, split.val)):
            tokens = torch.cat([stretch.tokens for stretch in stretches])
            count = min(PIECES[use], len(tokens) // length)
            starts = torch.linspace(0, len(tokens) - length, count).long().tolist()
            parts[use].extend(tokens[start : start + length] for start in starts)
            classes[use].extend([by_name[file.name]] * count)
    train, val = (Sequences.join(*use) for use in zip(parts, classes, strict=True))
    return LabelledData(train, val, list(SPECIES), task)


def folder_data(task: Task, files: Iterable[Path]) -> LabelledData:
    """``train/CLASS/*.txt`` against ``test/CLASS/*.txt``, a file a sequence.

    Raises:
        DataError: another layout, or a file that is empty or holds what is no nucleotide.
    """
    files = list(files)
    uses: dict[str, list[Path]] = {"train": [], "test": []}
    for file in files:
        if file.parent.parent.name not in uses:
            raise DataError(f"{file}: expected train/CLASS/SEQUENCE.txt or test/CLASS/SEQUENCE.txt")
        uses[file.parent.parent.name].append(file)
    names = sorted({file.parent.name for file in uses["train"]})
    for use, found in uses.items():
        if not found:
            raise DataError(f"{task.path} holds no {use}/CLASS/SEQUENCE.txt")
    if unknown := {file.parent.name for file in uses["test"]} - set(names):
        raise DataError(f"{task.path}: class {min(unknown)!r} is in test, but not in train")
    if len(names) < 2:
        raise DataError(f"{task.path}: classes must be two or more, got only {names[0]!r}")
    train, val = (_read(found, names) for found in uses.values())
    return LabelledData(train, val, names, task)


def _read(files: list[Path], names: list[str]) -> Sequences:
    """One sequence a file; of many files what they hold is kept in the cache."""
    if len(files) < _KEEP_ABOVE:
        return _parse(files, names)
    mark = digest(names, [file.parent.name for file in files], digest_files(files))
    kept = cache() / "derived" / "dna" / f"{mark}.pt"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(dir=kept.parent)
        os.close(handle)
        try:
            torch.save(asdict(_parse(files, names)), unfinished)
            Path(unfinished).replace(kept)
        finally:
            Path(unfinished).unlink(missing_ok=True)
    return Sequences(**torch.load(kept, weights_only=True, mmap=True))


def _parse(files: list[Path], names: list[str]) -> Sequences:
    parts = []
    for file in files:
        letters = b"".join(file.read_bytes().split())
        if not letters:
            raise DataError(f"{file} is empty: expected one sequence of nucleotides")
        parts.append(tokens_of(letters, str(file)))
    return Sequences.join(parts, [names.index(file.parent.name) for file in files])


def gc_baseline(data: LabelledData) -> tuple[float, float]:
    """Loss (nats a sequence) and accuracy of telling classes by their GC content alone.

    Each class has a share of the training sequences and a normal distribution of the share of G
    and C among the bases that are read; Bayes' rule says the rest.
    """
    train, val = data.sequences
    known = torch.bincount(train.classes, minlength=len(data.names)).double()
    content = _gc(train, data.length)
    chances = []
    for number, count in enumerate(known):
        own = content[train.classes == number]
        spread = own.std(correction=0).clamp(min=1e-3)
        normal = torch.distributions.Normal(own.mean(), spread)
        chances.append(normal.log_prob(_gc(val, data.length)) + (count / known.sum()).log())
    scores = torch.stack(chances, dim=1).log_softmax(dim=1)
    right = scores.argmax(dim=1) == val.classes
    return float(nll_loss(scores, val.classes)), float(right.double().mean())


def _gc(sequences: Sequences, length: int) -> Tensor:
    """(sequences,) float64, the share of G and C among the known of the first ``length`` bases."""
    shares = []
    for index in range(len(sequences)):
        counts = torch.bincount(sequences[index][:length].int(), minlength=len(BASES))
        shares.append(counts[_GC].sum() / counts[:UNKNOWN].sum().clamp(min=1))
    return torch.stack(shares).double()
