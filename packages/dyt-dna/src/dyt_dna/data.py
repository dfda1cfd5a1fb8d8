"""Windows of genomes for language models: what is trained on, what is held out, what is masked."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset

from dyt_bench.plugin.data import SeededDataModule, ShuffledBatches, at_most
from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.task import Task
from dyt_dna.bases import MASK, UNKNOWN
from dyt_dna.catalog import ARCHITECTURES
from dyt_dna.sequences import Stretch, read_sequences
from dyt_dna.splits import Split, by_bed, held_out_ends, held_out_places

OVERLAP = 8  # windows that a base is in; models know no place, so more would add little
TRAIN_WINDOWS = 2**20  # about, at most: the windows of a large genome overlap less
VAL_BASES = 2**17  # at most, evenly spread, so that a large genome does not hold up training

Example = tuple[Tensor, Tensor, Tensor]  # inputs and targets (L,) int64, coding (L,) bool
_log = logging.getLogger(__name__)


class Windows(Dataset[Stretch]):
    """The windows of ``size`` bases of a stretch, one every ``stride``, on one of its strands."""

    def __init__(self, stretch: Stretch, size: int, stride: int, *, reverse: bool = False) -> None:
        self.stretch, self.size, self.stride, self.reverse = stretch, size, stride, reverse

    def __len__(self) -> int:
        return max(0, (len(self.stretch) - self.size) // self.stride + 1)

    def __getitem__(self, index: int) -> Stretch:
        start = index * self.stride
        if not self.reverse:
            return self.stretch[start : start + self.size]
        stop = len(self.stretch) - start
        return self.stretch[stop - self.size : stop].reverse_complement()


class NextBases(Dataset[Example]):
    """Inputs are a window but its last base, targets the same but its first."""

    def __init__(self, windows: Dataset[Stretch]) -> None:
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Example:
        window = self.windows[index]
        tokens = window.tokens.long()
        return tokens[:-1], tokens[1:], window.coding[1:]


class MaskedBases(Dataset[Example]):
    """Targets are some bases of a window, chosen at random, and N elsewhere; inputs hide them.

    The first base of a window is left out, so that the same bases are targets as for the next
    base. What is masked follows from the seed and the index or, where that comes with the number
    of an epoch, from all three: neither worker processes nor an interruption change it.

    Args:
        options: of a recipe; here ``mask_rate``, ``mask_kept`` and ``mask_random``.
    """

    def __init__(
        self,
        windows: Dataset[Stretch],
        options: Mapping[str, float | str],
        *,
        seed: int,
    ) -> None:
        self.windows, self.seed = windows, seed
        self.rate, self.kept, self.random = (
            float(options.get(f"mask_{name}", usual))
            for name, usual in {"rate": 0.15, "kept": 0.1, "random": 0.1}.items()
        )

    def __len__(self) -> int:
        return len(self.windows)  # type: ignore[arg-type]

    def __getitem__(self, at: int | tuple[int, int]) -> Example:
        if isinstance(at, tuple):
            epoch, index = at
            seed = int(np.random.SeedSequence([self.seed, epoch, index]).generate_state(1)[0])
        else:
            index, seed = at, self.seed + at
        generator = torch.Generator().manual_seed(seed)
        window = self.windows[index]
        tokens = window.tokens[1:].long()
        draw, fate = torch.rand(2, len(tokens), generator=generator)
        any_base = torch.randint(4, (len(tokens),), generator=generator)
        target = (draw < self.rate) & (tokens != UNKNOWN)
        shown = torch.where(fate < self.kept + self.random, any_base, MASK)
        shown = torch.where(fate < self.kept, tokens, shown)
        return (
            torch.where(target, shown, tokens),
            torch.where(target, tokens, UNKNOWN),
            window.coding[1:],
        )


class NumberedBatches(ShuffledBatches):
    """The same batches, each index with the number of its epoch before it."""

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:  # type: ignore[override]
        epoch = self.epoch
        for batch in super().__iter__():
            yield [(epoch, index) for index in batch]


class GenomeData(SeededDataModule):
    """Batches ``(inputs (B, L) int64, targets (B, L) int64, coding (B, L) bool)``; N is no target.

    Both strands are trained on; the strand as given is validated on, in windows that overlap by
    one base, so that each base is predicted once.

    Raises:
        DataError: the training stretches hold less than one batch of windows, or the held-out
            ones no window or no known base.
    """

    def __init__(self, split: Split, task: Task, options: Mapping[str, float | str]) -> None:
        architecture = ARCHITECTURES[task.model]
        self.length = architecture.length
        size = self.length + 1  # inputs and targets overlap
        stride = max(self.length // OVERLAP, 2 * sum(map(len, split.train)) // TRAIN_WINDOWS)
        windows = ConcatDataset(
            Windows(stretch, size, stride, reverse=reverse)
            for reverse in (False, True)
            for stretch in split.train
        )
        # The windows' own order is of no use to anybody: a budget of data is windows at random.
        chosen: Dataset[Stretch] = at_most(windows, task.train_samples)
        if (count := len(chosen)) < task.batch_size:  # type: ignore[arg-type]
            raise DataError(
                f"the training sequences hold {count} windows of {size} bases: "
                f"give longer ones, or a batch_size of at most that instead of {task.batch_size}"
            )
        held_out = ConcatDataset(Windows(stretch, size, self.length) for stretch in split.val)
        if not len(held_out):
            longest = max(map(len, split.val))
            raise DataError(
                f"no held-out part is as long as a window of {task.model!r}, {size} bases, the "
                f"longest has {longest}: give longer sequences or take a model that reads less"
            )
        step = math.ceil(len(held_out) * self.length / VAL_BASES)
        spread = range(0, len(held_out), step)
        if not any(bool((held_out[i].tokens[1:] != UNKNOWN).any()) for i in spread):
            raise DataError("the held-out end of the sequences has no A, C, G or T: trim the Ns")
        self.split, self.val_windows = split, Subset(held_out, spread)
        self.annotated = any(bool(stretch.coding.any()) for stretch in split.val)
        if architecture.masked:
            self.examples = MaskedBases(chosen, options, seed=task.seed)
            # All targets hidden: one that is shown tells itself, which is no knowledge of DNA.
            hidden = {**options, "mask_kept": 0.0, "mask_random": 0.0}
            val: Dataset[Example] = MaskedBases(self.val_windows, hidden, seed=0)
        else:
            self.examples = NextBases(chosen)  # type: ignore[assignment]
            val = NextBases(self.val_windows)
        super().__init__(self.examples, val, batch_size=task.batch_size, seed=task.seed)

    def batches(self) -> ShuffledBatches:
        """Masks are drawn anew each epoch."""
        if not isinstance(self.examples, MaskedBases):
            return super().batches()
        return NumberedBatches(len(self.examples), self.batch_size, self.seed)


def genome_data(
    task: Task, files: Iterable[Path], options: Mapping[str, float | str]
) -> GenomeData:
    """The data module of ``task.dataset``, read from ``files``.

    Args:
        options: of the training recipe; the masks' are read here.

    Raises:
        DataError: a file cannot be read, or the sequences are too short.
    """
    beds = [file for file in files if file.suffix.lower() == ".bed"]
    sequences = [s for file in files if file not in beds for s in read_sequences(file)]
    if task.dataset == "chloroplast":
        (genome,) = sequences
        split = held_out_places(genome)
    elif beds:
        split = by_bed(sequences, beds)
    else:
        split = held_out_ends(sequences, ARCHITECTURES[task.model].length + 1, task.path)
    if split.left_out:
        _log.warning("%s", split.left_out)
    return GenomeData(split, task, options)
