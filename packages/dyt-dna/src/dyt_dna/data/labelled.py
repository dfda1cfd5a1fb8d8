"""Labelled sequences for classification: species, and folders in GenomicBenchmarks' layout."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from dyt_bench.plugin.derived import derived
from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.files import digest_files
from dyt_bench.plugin.task import digest
from dyt_dna.data.files import SPECIES
from dyt_dna.data.sequences import read_sequences, tokens_of
from dyt_dna.data.splits import held_out_ends

PIECES = 400, 100  # of each species: to train on, and of the last tenth of its genome
_KEEP_FROM = 1000  # files, whose content the cache keeps as one


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


@dataclass(frozen=True)
class Labelled:
    """The two sides of a data set, and the names of its classes."""

    train: Sequences
    val: Sequences
    names: list[str]


def read_species(files: Iterable[Path], length: int) -> Labelled:
    """Pieces of four bacteria's genomes, each of ``length`` bases, evenly spread.

    Raises:
        DataError: a file cannot be read, or holds too short a genome.
    """
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
    return Labelled(train, val, list(SPECIES))


def read_folder(files: Iterable[Path], source: Path | None) -> Labelled:
    """``train/CLASS/*.txt`` against ``test/CLASS/*.txt``, one sequence a file.

    Args:
        files: all of them.
        source: the folder, named in errors.

    Raises:
        DataError: another layout, or a file that is empty or holds other than nucleotides.
    """
    uses: dict[str, list[Path]] = {"train": [], "test": []}
    for file in files:
        if file.parent.parent.name not in uses:
            raise DataError(f"{file}: expected train/CLASS/SEQUENCE.txt or test/CLASS/SEQUENCE.txt")
        uses[file.parent.parent.name].append(file)
    names = sorted({file.parent.name for file in uses["train"]})
    for use, found in uses.items():
        if not found:
            raise DataError(f"{source} holds no {use}/CLASS/SEQUENCE.txt")
    if unknown := {file.parent.name for file in uses["test"]} - set(names):
        raise DataError(f"{source}: class {min(unknown)!r} is in test, but not in train")
    if len(names) < 2:
        raise DataError(f"{source}: classes must be two or more, got only {names[0]!r}")
    train, val = (_read(found, names) for found in uses.values())
    return Labelled(train, val, names)


def _read(files: list[Path], names: list[str]) -> Sequences:
    """One sequence a file; the cache keeps the content of many files as one."""
    if len(files) < _KEEP_FROM:
        return _parse(files, names)

    def make(path: Path) -> None:
        with path.open("wb") as file:
            torch.save(asdict(_parse(files, names)), file)

    key = digest(names, [file.parent.name for file in files], digest_files(files))
    path = derived(f"dna/labelled-{key}.pt", make)
    return Sequences(**torch.load(path, weights_only=True, mmap=True))


def _parse(files: list[Path], names: list[str]) -> Sequences:
    parts = []
    for file in files:
        letters = b"".join(file.read_bytes().split())
        if not letters:
            raise DataError(f"{file} is empty: expected one sequence of nucleotides")
        parts.append(tokens_of(letters, str(file)))
    return Sequences.join(parts, [names.index(file.parent.name) for file in files])
