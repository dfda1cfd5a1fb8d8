"""The data modules: windows of genomes for language models, labelled sequences for classifiers."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset

from dyt_bench.plugin.data import SeededDataModule, ShuffledBatches, at_most
from dyt_bench.plugin.domain import DataError, TrainingPreset, quoted
from dyt_bench.plugin.notices import notice
from dyt_bench.plugin.reading import read_each
from dyt_bench.plugin.task import Task
from dyt_dna.bases import UNKNOWN
from dyt_dna.data.files import LABELLED
from dyt_dna.data.labelled import Labelled, Sequences, read_folder, read_species
from dyt_dna.data.sequences import Stretch, read_sequences
from dyt_dna.data.splits import Split, by_bed, held_out_ends, held_out_places
from dyt_dna.data.windows import Example, MaskedBases, NextBases, NumberedBatches, Windows
from dyt_dna.shapes import SHAPES

OVERLAP = 8  # windows that contain a base; models do not know its place, so more add little
TRAIN_WINDOWS = 2**20  # about, at most: the windows of a large genome overlap less
VAL_BASES = 2**17  # at most, evenly spread, so that validation on a large genome stays short

LabelledExample = tuple[Tensor, Tensor]  # tokens (L,) int64, padded with N; class () int64


class GenomeData(SeededDataModule):
    """Batches ``(inputs (B, L) int64, targets (B, L) int64, coding (B, L) bool)``; N is no target.

    Training uses both strands. Validation uses the strand as given, in windows that overlap by
    one base, so that each base is predicted once.

    Raises:
        DataError: the training stretches hold less than one batch of windows, or the held-out
            ones no window or no known base.
    """

    def __init__(self, split: Split, task: Task, options: Mapping[str, float | str]) -> None:
        shape = SHAPES[task.model]
        self.length = shape.length
        size = self.length + 1  # inputs and targets overlap
        stride = max(self.length // OVERLAP, 2 * sum(map(len, split.train)) // TRAIN_WINDOWS)
        windows: ConcatDataset[Stretch] = ConcatDataset(
            Windows(stretch, size, stride, reverse=reverse)
            for reverse in (False, True)
            for stretch in split.train
        )
        # A limit on the training data chooses windows at random, not the first ones.
        chosen: Dataset[Stretch] = at_most(windows, task.train_samples)
        if (count := len(chosen)) < task.batch_size:  # type: ignore[arg-type]  # Dataset has no len
            raise DataError(
                f"the training sequences hold {count} windows of {size} bases: "
                f"give longer ones, or a batch_size of at most that instead of {task.batch_size}"
            )
        held_out: ConcatDataset[Stretch] = ConcatDataset(
            Windows(stretch, size, self.length) for stretch in split.val
        )
        if not len(held_out):
            longest = max(map(len, split.val))
            raise DataError(
                f"no held-out part is as long as a window of {quoted(task.model)}, {size} bases, "
                f"the longest has {longest}: give longer sequences or take a model that reads less"
            )
        step = math.ceil(len(held_out) * self.length / VAL_BASES)
        spread = range(0, len(held_out), step)
        if not any(bool((held_out[i].tokens[1:] != UNKNOWN).any()) for i in spread):
            raise DataError("the held-out end of the sequences has no A, C, G or T: trim the Ns")
        self.split, self.val_windows = split, Subset(held_out, spread)
        self.annotated = any(bool(stretch.coding.any()) for stretch in split.val)
        self.examples: MaskedBases | NextBases
        val: Dataset[Example]
        if shape.masked:
            self.examples = MaskedBases(chosen, options, seed=task.seed)
            # All targets are hidden: to predict one that is shown takes no knowledge of DNA.
            hidden = {**options, "mask_kept": 0.0, "mask_random": 0.0}
            val = MaskedBases(self.val_windows, hidden, seed=0)
        else:
            self.examples = NextBases(chosen)
            val = NextBases(self.val_windows)
        super().__init__(self.examples, val, batch_size=task.batch_size, seed=task.seed)

    def batches(self) -> ShuffledBatches:
        """Masks are drawn anew each epoch."""
        if not isinstance(self.examples, MaskedBases):
            return super().batches()
        return NumberedBatches(len(self.examples), self.batch_size, self.seed)


class Padded(Dataset[LabelledExample]):
    """Sequences cut or padded with N to one ``length``."""

    def __init__(self, sequences: Sequences, length: int) -> None:
        self.sequences, self.length = sequences, length

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: int) -> LabelledExample:
        padded = torch.full((self.length,), UNKNOWN)
        tokens = self.sequences[index][: self.length]
        padded[: len(tokens)] = tokens
        return padded, self.sequences.classes[index]


class LabelledData(SeededDataModule):
    """Batches ``(tokens (B, L) int64, classes (B,) int64)``.

    L is the length of the longest sequence, but no more than the model reads.

    Raises:
        DataError: fewer sequences than a batch.
    """

    def __init__(self, labelled: Labelled, task: Task) -> None:
        reads = SHAPES[task.model].length
        lengths = torch.cat([labelled.train.lengths, labelled.val.lengths])
        self.labelled, self.length = labelled, min(int(lengths.max()), reads)
        if cut := int((lengths > reads).sum()):
            notice(f"{cut} sequences are cut after {reads} bases, what the model reads")
        samples = at_most(Padded(labelled.train, self.length), task.train_samples)
        if (count := len(samples)) < task.batch_size:  # type: ignore[arg-type]  # Dataset has no len
            raise DataError(
                f"there are {count} training sequences: give more, or a batch_size of at most "
                f"that instead of {task.batch_size}"
            )
        super().__init__(
            samples, Padded(labelled.val, self.length), batch_size=task.batch_size, seed=task.seed
        )


def build_data(
    task: Task, files: Iterable[Path], preset: TrainingPreset
) -> GenomeData | LabelledData:
    """The data module of ``task.dataset``, read from ``files``.

    Args:
        preset: of its options, those of the masks are read.

    Raises:
        DataError: a file cannot be read, files are not laid out as they should be, or sequences
            are too short.
    """
    if task.dataset in LABELLED:
        return LabelledData(_labelled(task, files), task)
    return GenomeData(_split(task, list(files)), task, preset.options)


def _labelled(task: Task, files: Iterable[Path]) -> Labelled:
    if task.dataset == "species":
        return read_species(files, SHAPES[task.model].length)
    return read_folder(files, task.path, skip=task.skip_bad_files)


def _split(task: Task, files: list[Path]) -> Split:
    beds = [file for file in files if file.suffix.lower() == ".bed"]
    genomes = [file for file in files if file not in beds]
    read = read_each(genomes, read_sequences, skip=task.skip_bad_files)
    sequences = [sequence for _, found in read for sequence in found]
    if task.dataset == "chloroplast":
        (genome,) = sequences
        return held_out_places(genome)
    if beds:
        split = by_bed(sequences, beds)
    else:
        split = held_out_ends(sequences, SHAPES[task.model].length + 1, task.path)
    if split.left_out:
        notice(split.left_out)
    return split
