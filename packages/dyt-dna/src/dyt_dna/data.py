"""Windows of a genome: the chloroplast that comes with the package, or the user's files."""

import gzip
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from Bio import SeqIO
from Bio.SeqRecord import SeqRecord
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset

from dyt_bench.cell import Task
from dyt_bench.domain import DataError
from dyt_bench.loading import SeededDataModule
from dyt_dna.models import BASES

LENGTH = 1024  # bases a model reads
WINDOW = LENGTH + 1  # and the last one's successor: inputs and targets overlap
STRIDE = LENGTH // 8  # between training windows; the model knows no place, so no finer
VAL_WINDOWS = 128  # at most, evenly spread, so that a large genome does not hold up training
UNKNOWN = BASES.index("N")

# The chloroplast is a circle of a large (0 to 84,170) and a small (110,434 to 128,214) single-copy
# region, between two copies of one 26,264-base repeat, the second reversed. To hold out a piece
# of one copy and train on the other would be to train on the answers: the held-out stretches, 20
# and 4 windows, lie in the single-copy regions, clear of the short repeats there too.
HELD_OUT = ((52_000, 52_000 + 20 * LENGTH + 1), (116_000, 116_000 + 4 * LENGTH + 1))

# By the file's suffix; "fasta-pearson" is Biopython's name for FASTA with comments allowed.
FORMATS = dict.fromkeys((".fa", ".fasta", ".fna"), "fasta-pearson")
FORMATS |= dict.fromkeys((".gb", ".gbk"), "genbank")
_COMPLEMENT = torch.tensor([BASES.index(base) for base in "TGCAN"], dtype=torch.uint8)
_INVALID = 255
_LETTERS = {base: BASES.index(base) for base in "ACGT"} | {"U": BASES.index("T")}
_LETTERS |= dict.fromkeys("NRYSWKMBDHV", UNKNOWN)  # IUPAC's letters for "one of several"
_TOKENS = bytes(_LETTERS.get(chr(code).upper(), _INVALID) for code in range(256))


@dataclass(frozen=True)
class Stretch:
    """Consecutive bases of one strand."""

    tokens: Tensor  # (T,) uint8, places in BASES
    coding: Tensor  # (T,) bool: in an annotated coding sequence, of either strand

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, part: slice) -> "Stretch":
        return Stretch(self.tokens[part], self.coding[part])

    def reverse_complement(self) -> "Stretch":
        """The other strand, in the direction it is read."""
        return Stretch(_COMPLEMENT[self.tokens.flip(0).int()], self.coding.flip(0))


Window = tuple[Tensor, Tensor]  # tokens (1025,) int64, coding (1025,) bool


class Windows(Dataset[Window]):
    """The windows of a stretch, one every ``stride`` bases."""

    def __init__(self, stretch: Stretch, stride: int) -> None:
        self.stretch, self.stride = stretch, stride

    def __len__(self) -> int:
        return (len(self.stretch) - WINDOW) // self.stride + 1

    def __getitem__(self, index: int) -> Window:
        start = index * self.stride
        window = self.stretch[start : start + WINDOW]
        return window.tokens.long(), window.coding


class GenomeData(SeededDataModule):
    """Batches ``(tokens (B, 1025) int64, coding (B, 1025) bool)``.

    Both strands are trained on; the strand as given is validated on, in windows that overlap by
    one base, so that each base is predicted once.

    Raises:
        DataError: the training stretches hold less than one batch of windows, or the held-out
            ones no known base.
    """

    def __init__(self, train: list[Stretch], val: list[Stretch], task: Task) -> None:
        strands = [*train, *(stretch.reverse_complement() for stretch in train)]
        windows, held_out = _windows(strands, STRIDE), _windows(val, LENGTH)
        if len(windows) < task.batch_size:
            raise DataError(
                f"the training sequences hold {len(windows)} windows of {WINDOW} bases: "
                f"give longer ones, or a batch_size of at most that instead of {task.batch_size}"
            )
        spread = range(0, len(held_out), math.ceil(len(held_out) / VAL_WINDOWS))
        if not any(bool((held_out[i][0][1:] != UNKNOWN).any()) for i in spread):
            raise DataError("the held-out end of the sequences has no A, C, G or T: trim the Ns")
        super().__init__(
            windows,
            Subset(held_out, spread),
            batch_size=task.batch_size,
            seed=task.seed,
        )
        self.strands, self.held_out = strands, val
        self.annotated = any(bool(stretch.coding.any()) for stretch in val)


def genome_data(task: Task, files: Iterable[Path]) -> GenomeData:
    """The data module of ``task.dataset``, read from ``files``.

    Raises:
        DataError: a file cannot be read, or the sequences are too short.
    """
    sequences = [sequence for file in files for sequence in read_sequences(file)]
    if task.dataset == "chloroplast":
        (genome,) = sequences
        return GenomeData(*_cut(genome, HELD_OUT), task)
    return _folder(task, sequences)


def read_sequences(file: Path) -> list[Stretch]:
    """The sequences of a FASTA or GenBank file; coding bases are known from the latter only.

    Raises:
        DataError: another format, or no nucleotide sequence in it.
    """
    zipped = file.suffix.lower() == ".gz"
    suffix = Path(file.stem if zipped else file.name).suffix.lower()
    if suffix not in FORMATS:
        raise DataError(f"{file} is none of {', '.join(FORMATS)} by its name, with .gz or without")
    opener = gzip.open if zipped else open
    try:
        with opener(file, "rt") as text:
            records = SeqIO.parse(text, FORMATS[suffix])  # type: ignore[no-untyped-call]
            sequences = [_sequence(record) for record in records if record.seq]
    except (ValueError, OSError, EOFError) as error:  # EOFError: a gzip file cut short
        raise DataError(f"{file}: {error}") from error
    if not sequences:
        raise DataError(f"{file} holds no sequence: is it FASTA or GenBank, as its name says?")
    return sequences


def markov_loss(data: GenomeData, order: int) -> float:
    """Held-out loss, in nats per base, of a Markov chain: the base given the ``order`` before it.

    What a model is to beat. From p = 1/4, each order starts from the one below it::

        p_k(b | context) = (count(context, b) + w p_{k-1}(b | context without its first base))
                           / (count(context) + w)

    counted on the strands trained on. The weight w = 256 makes the chain strong: of the powers
    of four up to it, it gives the chloroplast the lowest loss at orders 4 to 8.

    Raises:
        ValueError: order is not between 0 and 10 (the table has 4 ** (order + 1) entries).
    """
    if not 0 <= order <= 10:
        raise ValueError(f"order must be between 0 and 10, got {order}")
    chance = torch.full((1, 4), 0.25, dtype=torch.float64)
    for size in range(1, order + 2):
        counts = torch.zeros(4**size, dtype=torch.float64)
        for stretch in data.strands:
            counts += torch.bincount(_words(stretch, size), minlength=4**size)
        counts = counts.view(-1, 4)
        shorter = chance.repeat(len(counts) // len(chance), 1)  # the first base leads: forget it
        chance = (counts + 256 * shorter) / (counts.sum(dim=1, keepdim=True) + 256)
    words = torch.cat([_words(stretch, order + 1) for stretch in data.held_out])
    return float(-chance.flatten()[words].log().mean())


def _words(stretch: Stretch, size: int) -> Tensor:
    """Each word of ``size`` known bases as a number in base 4, the first base leading."""
    count = len(stretch) - size + 1
    words = torch.zeros(count, dtype=torch.long)
    known = torch.ones(count, dtype=torch.bool)
    for place in range(size):
        letters = stretch.tokens[place : place + count]
        words = 4 * words + letters
        known &= letters != UNKNOWN
    return words[known]


def _sequence(record: SeqRecord) -> Stretch:
    letters = bytes(record.seq or b"")
    tokens = torch.frombuffer(bytearray(letters.translate(_TOKENS)), dtype=torch.uint8)
    invalid = (tokens == _INVALID).nonzero()
    if len(invalid):
        place = int(invalid[0])
        raise DataError(
            f"sequence {record.id!r} has {chr(letters[place])!r} at base {place + 1}, "
            "which is no nucleotide"
        )
    coding = torch.zeros(len(tokens), dtype=torch.bool)
    for feature in record.features:
        if feature.type == "CDS" and feature.location is not None:
            for part in feature.location.parts:
                if part.ref is None:  # not on another record
                    coding[int(part.start) : int(part.end)] = True
    return Stretch(tokens, coding)


def _folder(task: Task, sequences: list[Stretch]) -> GenomeData:
    """The last tenth of each sequence is held out, and a window at the least."""
    train, val = [], []
    for sequence in sequences:
        border = len(sequence) - max(len(sequence) // 10, WINDOW)
        if border >= WINDOW:
            train.append(sequence[:border])
            val.append(sequence[border:])
    if not train:
        longest = max(map(len, sequences))
        raise DataError(
            f"{task.path}: no sequence of {2 * WINDOW} bases or more, to train on one window and "
            f"hold out another; the longest has {longest}"
        )
    return GenomeData(train, val, task)


def _windows(stretches: list[Stretch], stride: int) -> ConcatDataset[Window]:
    return ConcatDataset([Windows(stretch, stride) for stretch in stretches])


def _cut(
    sequence: Stretch, held_out: Iterable[tuple[int, int]]
) -> tuple[list[Stretch], list[Stretch]]:
    """What lies around and what lies in the intervals, which are in order."""
    train, val, done = [], [], 0
    for start, stop in held_out:
        train.append(sequence[done:start])
        val.append(sequence[start:stop])
        done = stop
    return [*train, sequence[done:]], val
