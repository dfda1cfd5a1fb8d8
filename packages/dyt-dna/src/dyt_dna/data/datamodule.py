"""The data modules: windows of genomes for language models, labelled sequences for classifiers."""

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset

from dyt_bench.plugin.data import SeededDataModule, ShuffledBatches, at_most
from dyt_bench.plugin.domain import DataError, entry
from dyt_bench.plugin.notices import notice
from dyt_bench.plugin.reading import read_each
from dyt_dna.bases import UNKNOWN
from dyt_dna.data.files import FILES, LABELLED
from dyt_dna.data.labelled import Sequences, read_folder, read_species
from dyt_dna.data.sequences import Stretch, read_sequences
from dyt_dna.data.splits import Split, by_bed, held_out_ends, held_out_places
from dyt_dna.data.windows import Example, MaskedBases, NextBases, NumberedBatches, Windows

OVERLAP = 8  # windows that contain a base; models do not know its place, so more add little
TRAIN_WINDOWS = 2**20  # about, at most: the windows of a large genome overlap less
VAL_BASES = 2**17  # at most, evenly spread, so that validation on a large genome stays short

LabelledExample = tuple[Tensor, Tensor]  # tokens (L,) int64, padded with N; class () int64


class GenomeData(SeededDataModule):
    """Batches ``(inputs (B, L) int64, targets (B, L) int64, coding (B, L) bool)``; N is no target.

    Training uses both strands. Validation uses the strand as given, in windows that overlap by
    one base, so that each base is predicted once.

    Args:
        dataset: the name of a genome in `dyt_dna.catalog`.
        path: of your own genomes.
        batch_size: windows of a training step, of all processes together.
        length: L, the bases that a model reads.
        masked: whether targets are bases that the inputs hide, or each next one.
        mask_rate: share of the bases that are hidden.
        mask_kept, mask_random: share of those that the training inputs show after all, and that
            another base stands for.
        train_samples: train on at most so many windows, chosen at random.
        skip_bad_files: leave out files that cannot be read; else they are an error.

    Raises:
        DataError: a file cannot be read, the training stretches hold less than one batch of
            windows, or the held-out ones no window or no known base.
        UserError: no genome has that name.
    """

    def __init__(
        self,
        dataset: str = "chloroplast",
        path: str | Path | None = None,
        *,
        batch_size: int = 8,
        seed: int = 0,
        length: int = 128,
        masked: bool = False,
        mask_rate: float = 0.15,
        mask_kept: float = 0.1,
        mask_random: float = 0.1,
        train_samples: int | None = None,
        skip_bad_files: bool = False,
    ) -> None:
        folder = None if path is None else Path(path)
        genomes = {name: files for name, files in FILES.items() if name not in LABELLED}
        files = list(entry(genomes, dataset, "dataset")(folder))
        self.length = length
        size = length + 1  # inputs and targets overlap
        split = _split(dataset, folder, files, size, skip_bad_files)
        stride = max(length // OVERLAP, 2 * sum(map(len, split.train)) // TRAIN_WINDOWS)
        windows: ConcatDataset[Stretch] = ConcatDataset(
            Windows(stretch, size, stride, reverse=reverse)
            for reverse in (False, True)
            for stretch in split.train
        )
        # A limit on the training data chooses windows at random, not the first ones.
        chosen: Dataset[Stretch] = at_most(windows, train_samples)
        if (count := len(chosen)) < batch_size:  # type: ignore[arg-type]  # Dataset has no len
            raise DataError(
                f"the training sequences hold {count} windows of {size} bases: "
                f"give longer ones, or a batch_size of at most that instead of {batch_size}"
            )
        held_out: ConcatDataset[Stretch] = ConcatDataset(
            Windows(stretch, size, length) for stretch in split.val
        )
        if not len(held_out):
            longest = max(map(len, split.val))
            raise DataError(
                f"no held-out part is as long as a window, {size} bases, "
                f"the longest has {longest}: give longer sequences or take a model that reads less"
            )
        step = math.ceil(len(held_out) * length / VAL_BASES)
        spread = range(0, len(held_out), step)
        if not any(bool((held_out[i].tokens[1:] != UNKNOWN).any()) for i in spread):
            raise DataError("the held-out end of the sequences has no A, C, G or T: trim the Ns")
        self.split, self.val_windows = split, Subset(held_out, spread)
        self.annotated = any(bool(stretch.coding.any()) for stretch in split.val)
        self.examples: MaskedBases | NextBases
        val: Dataset[Example]
        if masked:
            self.examples = MaskedBases(
                chosen, rate=mask_rate, kept=mask_kept, random=mask_random, seed=seed
            )
            # All targets are hidden: to predict one that is shown takes no knowledge of DNA.
            val = MaskedBases(self.val_windows, rate=mask_rate, kept=0.0, random=0.0, seed=0)
        else:
            self.examples = NextBases(chosen)
            val = NextBases(self.val_windows)
        super().__init__(self.examples, val, batch_size=batch_size, seed=seed)

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

    L is the length of the longest sequence, but no more than ``length``.

    Args:
        dataset: the name of labelled sequences in `dyt_dna.catalog`.
        path: of your own sequences.
        batch_size: sequences of a training step, of all processes together.
        length: the bases that a model reads.
        train_samples: train on at most so many.
        skip_bad_files: leave out files that cannot be read; else they are an error.

    Raises:
        DataError: a file cannot be read, files are not laid out as they should be, or there are
            fewer sequences than a batch.
        UserError: no labelled sequences have that name.
    """

    def __init__(
        self,
        dataset: str = "species",
        path: str | Path | None = None,
        *,
        batch_size: int = 8,
        seed: int = 0,
        length: int = 1024,
        train_samples: int | None = None,
        skip_bad_files: bool = False,
    ) -> None:
        folder = None if path is None else Path(path)
        sets = {name: files for name, files in FILES.items() if name in LABELLED}
        files = entry(sets, dataset, "dataset")(folder)
        if dataset == "species":
            labelled = read_species(files, length)
        else:
            labelled = read_folder(files, folder, skip=skip_bad_files)
        lengths = torch.cat([labelled.train.lengths, labelled.val.lengths])
        self.labelled, self.length = labelled, min(int(lengths.max()), length)
        if cut := int((lengths > length).sum()):
            notice(f"{cut} sequences are cut after {length} bases, what the model reads")
        samples = at_most(Padded(labelled.train, self.length), train_samples)
        if (count := len(samples)) < batch_size:  # type: ignore[arg-type]  # Dataset has no len
            raise DataError(
                f"there are {count} training sequences: give more, or a batch_size of at most "
                f"that instead of {batch_size}"
            )
        super().__init__(
            samples, Padded(labelled.val, self.length), batch_size=batch_size, seed=seed
        )


def _split(dataset: str, folder: Path | None, files: list[Path], window: int, skip: bool) -> Split:
    beds = [file for file in files if file.suffix.lower() == ".bed"]
    genomes = [file for file in files if file not in beds]
    read = read_each(genomes, read_sequences, skip=skip)
    sequences = [sequence for _, found in read for sequence in found]
    if dataset == "chloroplast":
        (genome,) = sequences
        return held_out_places(genome)
    split = by_bed(sequences, beds) if beds else held_out_ends(sequences, window, folder)
    if split.left_out:
        notice(split.left_out)
    return split
