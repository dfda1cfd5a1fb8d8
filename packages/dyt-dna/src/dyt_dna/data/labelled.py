"""Labelled sequences for classification: species, and folders in GenomicBenchmarks' layout."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from dyt_bench.plugin.derived import derived
from dyt_bench.plugin.domain import DataError, quoted
from dyt_bench.plugin.files import digest_files
from dyt_bench.plugin.notices import notice
from dyt_bench.plugin.reading import check_apart, read_each
from dyt_bench.plugin.task import digest
from dyt_dna.data.files import BEGINNINGS
from dyt_dna.data.sequences import read_sequences, tokens_of
from dyt_dna.data.splits import held_out_ends

PIECES = 1600, 160  # of each species: to train on, and of the last tenth of what is read
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
    by_name = {Path(file).name: number for number, file in enumerate(BEGINNINGS.values())}
    for file in files:
        split = held_out_ends(read_sequences(file), length, file)
        for use, stretches in enumerate((split.train, split.val)):
            tokens = torch.cat([stretch.tokens for stretch in stretches])
            count = min(PIECES[use], len(tokens) // length)
            starts = torch.linspace(0, len(tokens) - length, count).long().tolist()
            parts[use].extend(tokens[start : start + length] for start in starts)
            classes[use].extend([by_name[file.name]] * count)
    train, val = (Sequences.join(*use) for use in zip(parts, classes, strict=True))
    return Labelled(train, val, list(BEGINNINGS))


def read_folder(files: Iterable[Path], source: Path | None, *, skip: bool = False) -> Labelled:
    """``train/CLASS/*.txt`` against ``test/CLASS/*.txt``, one sequence a file.

    Args:
        files: all of them.
        source: the folder, named in errors.
        skip: leave out files that cannot be read; else they are an error.

    Raises:
        DataError: another layout; files that are empty or hold other than nucleotides; or more
            than a hundredth of the sequences in test are in train as well.
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
        raise DataError(f"{source}: class {quoted(min(unknown))} is in test, but not in train")
    if len(names) < 2:
        raise DataError(f"{source}: classes must be two or more, got only {quoted(names[0])}")
    if absent := sorted(set(names) - {file.parent.name for file in uses["test"]}):
        notice(f"{source}: class {quoted(absent[0])} is in train, but not in test")
    train, val = (_read(found, names, skip) for found in uses.values())
    held_out = ((content, f"test sequence {n + 1}") for n, content in enumerate(_contents(val)))
    check_apart(_contents(train), held_out, "sequences", source)
    return Labelled(train, val, names)


def _contents(sequences: Sequences) -> Iterator[bytes]:
    return (sequences[index].numpy().tobytes() for index in range(len(sequences)))


def _read(files: list[Path], names: list[str], skip: bool) -> Sequences:
    """One sequence a file; the cache keeps the content of many files as one."""
    if len(files) < _KEEP_FROM:
        return _parse(files, names, skip)

    def make(path: Path) -> None:
        with path.open("wb") as file:
            torch.save(asdict(_parse(files, names, skip)), file)

    key = digest(names, [file.parent.name for file in files], digest_files(files), skip)
    path = derived(f"dna/labelled-{key}.pt", make)
    return Sequences(**torch.load(path, weights_only=True, mmap=True))


def _parse(files: list[Path], names: list[str], skip: bool) -> Sequences:
    read = list(read_each(files, _one, skip=skip))
    classes = [names.index(file.parent.name) for file, _ in read]
    return Sequences.join([tokens for _, tokens in read], classes)


def _one(file: Path) -> Tensor:
    try:
        letters = b"".join(file.read_bytes().split())
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from None
    if not letters:
        raise DataError(f"{file} is empty: expected one sequence of nucleotides")
    return tokens_of(letters, str(file))
