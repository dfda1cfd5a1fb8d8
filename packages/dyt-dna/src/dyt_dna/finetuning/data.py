"""The data module: windows without labels to pretrain on, then labelled sequences."""

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import ConcatDataset, Dataset

from dyt_bench.plugin.data import ShuffledBatches
from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.phases import Groups, PhasedBatches, PhasedSamples
from dyt_dna.bases import UNKNOWN, reverse_complement
from dyt_dna.data.datamodule import OVERLAP, GenomeData, LabelledData
from dyt_dna.data.files import FILES
from dyt_dna.data.labelled import Sequences
from dyt_dna.data.sequences import Stretch, read_sequences
from dyt_dna.data.splits import held_out_ends
from dyt_dna.data.windows import Example, MaskedBases, NextBases, Windows
from dyt_dna.finetuning.files import GENOME, LABELLED


class FineTuningData(LabelledData):
    """Batches of `LabelledData`, and for the first ``pretraining_steps`` others in their place.

    Those are ``(inputs (B, k, L) int64, targets (B, k, L) int64, coding (B, k, L) bool)``, k
    windows of L bases without labels for each of B sequences; N is no target. They are of the
    genome where the data set has one, and else of the labelled training sequences. Of held-out
    sequences there are none in "species" and "genomic-benchmarks"; a genome may contain them, as
    it does in the papers.

    Args:
        dataset: its name in `dyt_dna.finetuning.catalog`.
        pretraining_steps: batches without labels.
        windows: k.
        masked, mask_rate, mask_kept, mask_random: of the pretraining, as in `GenomeData`.
        train_samples: fine-tune on at most so many; pretraining sees all.
        path, batch_size, seed, length, skip_bad_files: as in `LabelledData`.

    Raises:
        DataError: as `LabelledData` and `GenomeData`.
    """

    def __init__(
        self,
        dataset: str = "species",
        path: str | Path | None = None,
        *,
        pretraining_steps: int = 0,
        windows: int = 1,
        batch_size: int = 8,
        seed: int = 0,
        length: int = 1024,
        masked: bool = False,
        mask_rate: float = 0.15,
        mask_kept: float = 0.1,
        mask_random: float = 0.1,
        train_samples: int | None = None,
        skip_bad_files: bool = False,
    ) -> None:
        folder = None if path is None else Path(path)
        with_genome = folder is not None and dataset == f"{GENOME}-{LABELLED}"
        super().__init__(
            LABELLED if with_genome else dataset,
            folder / LABELLED if with_genome and folder else folder,
            batch_size=batch_size,
            seed=seed,
            length=length,
            train_samples=train_samples,
            skip_bad_files=skip_bad_files,
        )
        masks: dict[str, Any] = {"rate": mask_rate, "kept": mask_kept, "random": mask_random}
        before: Dataset[Example]
        if with_genome and folder:
            options = {f"mask_{name}": value for name, value in masks.items()}
            before = GenomeData(
                GENOME,
                folder / GENOME,
                batch_size=batch_size * windows,
                seed=seed,
                length=length,
                masked=masked,
                skip_bad_files=skip_bad_files,
                **options,
            ).examples
        else:
            cut = (
                _species(length)
                if dataset == "species"
                else Whole(self.labelled.train, self.length)
            )
            before = MaskedBases(cut, seed=seed, **masks) if masked else NextBases(cut)
        self.unlabelled = Groups(before, windows, paired=masked)
        if len(self.unlabelled) < batch_size:
            raise DataError(
                f"there are {len(self.unlabelled)} groups of {windows} windows to pretrain on: "
                f"give longer sequences, or a batch_size of at most that instead of {batch_size}"
            )
        self.pretraining_steps = pretraining_steps
        self.after = len(self.train)  # type: ignore[arg-type]  # Dataset has no len
        self.train = PhasedSamples(self.unlabelled, self.train)

    def batches(self) -> PhasedBatches:
        """Of windows for ``pretraining_steps``, then of labelled sequences."""
        before, after = (
            ShuffledBatches(count, self.batch_size, self.seed)
            for count in (len(self.unlabelled), self.after)
        )
        return PhasedBatches(self.pretraining_steps, before, after)


class Whole(Dataset[Stretch]):
    """Sequences on both strands, cut or padded with N to one base more than a model reads."""

    def __init__(self, sequences: Sequences, length: int) -> None:
        self.sequences, self.size = sequences, length + 1

    def __len__(self) -> int:
        return 2 * len(self.sequences)

    def __getitem__(self, index: int) -> Stretch:
        reverse, number = divmod(index, len(self.sequences))
        tokens = self.sequences[number]
        if reverse:
            tokens = reverse_complement(tokens.long()).to(tokens.dtype)
        padded = torch.full((self.size,), UNKNOWN, dtype=tokens.dtype)
        padded[: len(tokens)] = tokens[: self.size]
        return Stretch(padded, torch.zeros(self.size, dtype=torch.bool))


def _species(length: int) -> ConcatDataset[Stretch]:
    """Overlapping windows, on both strands, of what training pieces of "species" are taken from."""
    found = [
        stretch
        for file in FILES["species"](None)
        for stretch in held_out_ends(read_sequences(file), length, file).train
    ]
    return ConcatDataset(
        Windows(stretch, length + 1, max(1, length // OVERLAP), reverse=reverse)
        for reverse in (False, True)
        for stretch in found
    )
