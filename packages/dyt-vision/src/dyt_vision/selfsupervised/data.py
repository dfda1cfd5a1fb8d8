"""The data module: images in groups without labels to pretrain on, then images with labels."""

from typing import Any

from dyt_bench.plugin.data import SeededDataModule, ShuffledBatches
from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.phases import Groups, PhasedBatches, PhasedSamples
from dyt_vision.data.datamodule import VisionData


class PhasedImages(SeededDataModule):
    """Batches of ``labelled``, and for the first ``pretraining_steps`` groups of its images.

    Those are ``(images (B, k, C, S, S), labels (B, k))``; pretraining does not read the labels.

    Args:
        labelled: images with labels.
        pretraining_steps: batches of groups.
        groups: k.

    Raises:
        DataError: there are fewer groups than a batch.
    """

    def __init__(self, labelled: VisionData, pretraining_steps: int, groups: int = 1) -> None:
        before = Groups(labelled.train, groups)
        if len(before) < labelled.batch_size:
            raise DataError(
                f"there are {len(before)} groups of {groups} images to pretrain on: give more "
                f"images, or a batch_size of at most that instead of {labelled.batch_size}"
            )
        train: Any = PhasedSamples(before, labelled.train)
        super().__init__(
            train,
            labelled.val,
            batch_size=labelled.batch_size,
            seed=labelled.seed,
            num_workers=labelled.num_workers,
        )
        self.labelled, self.pretraining_steps = labelled, pretraining_steps
        self.counts = len(before), len(labelled.train)  # type: ignore[arg-type]  # Dataset has no len

    def batches(self) -> PhasedBatches:
        """Of groups for ``pretraining_steps``, then of images."""
        before, after = (
            ShuffledBatches(count, self.batch_size, self.seed) for count in self.counts
        )
        return PhasedBatches(self.pretraining_steps, before, after)
