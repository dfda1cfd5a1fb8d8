"""A data module for map-style data sets, with the same batches for every variant."""

from collections.abc import Callable, Iterator, Sized
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from dyt_bench.errors import DataError

__all__ = ["SeededDataModule", "ShuffledBatches", "at_most"]

_SPLIT_BLOCKS = 300  # at most about so many


def at_most(samples: Dataset[Any], count: int | None) -> Dataset[Any]:
    """A subset of ``count`` samples, the same for every seed; all of them for None or too few."""
    total = len(cast(Sized, samples))
    if count is None or count >= total:
        return samples
    chosen = torch.randperm(total, generator=torch.Generator().manual_seed(0))[:count]
    return Subset(samples, chosen.sort().values.tolist())


def take_split(data: LightningDataModule, split: str) -> None:
    """Let ``data`` validate on a part of its validation set: "tuning", "test", or "" for all.

    Of blocks of neighbouring samples every third is for tuning, so that both parts hold all kinds
    of samples, in whatever order they lie.

    Raises:
        DataError: ``data`` is no `SeededDataModule`, or has less than two validation samples.
    """
    if not split:
        return
    if not isinstance(data, SeededDataModule):
        raise DataError(
            f"the {split} part of the validation data needs a "
            f"dyt_bench.plugin.data.SeededDataModule, got a {type(data).__name__}"
        )
    count = len(cast(Sized, data.val))
    block = max(1, count // _SPLIT_BLOCKS)
    wanted = [i for i in range(count) if ((i // block) % 3 == 0) == (split == "tuning")]
    if not wanted:
        raise DataError(f"{count} validation samples cannot be divided for tuning and test")
    data.val = Subset(data.val, wanted)


class ShuffledBatches(Sampler[list[int]]):
    """Indices of full batches, in an order that depends on seed and epoch alone.

    Any batch of any epoch can be found without the ones before it, so training that was cut off
    resumes in the middle of an epoch. Each pass is an epoch; `seek` chooses the next one.
    """

    def __init__(self, samples: int, batch_size: int, seed: int) -> None:
        self.samples, self.batch_size, self.seed = samples, batch_size, seed
        self.epoch, self.first = 0, 0
        self._order: tuple[int, npt.NDArray[np.int64]] | None = None  # of an epoch

    def seek(self, epoch: int, first: int) -> None:
        """Make the next pass ``epoch``, starting at its batch ``first``; both count from 0."""
        self.epoch, self.first = epoch, first

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return self.samples // self.batch_size

    def indices(self, step: int) -> npt.NDArray[np.int64]:
        """The samples of batch ``step``, counted from 0 over all epochs."""
        epoch, number = divmod(step, len(self))
        if self._order is None or self._order[0] != epoch:
            rng = np.random.default_rng([self.seed, epoch])
            self._order = epoch, rng.permutation(self.samples)
        return self._order[1][number * self.batch_size : (number + 1) * self.batch_size]

    def __iter__(self) -> Iterator[list[int]]:
        epoch, first = self.epoch, self.first
        self.seek(epoch + 1, 0)
        for number in range(first, len(self)):
            yield self.indices(epoch * len(self) + number).tolist()


class SeededDataModule(LightningDataModule):
    """Serves a training and a validation set in an order that depends on the seed alone.

    Training batches are shuffled in each epoch and always full (`ShuffledBatches`). Validation
    batches come in the data set's order, and the last one may be smaller.

    Raises:
        DataError: the training set holds less than one batch.
    """

    def __init__(
        self,
        train: Dataset[Any],
        val: Dataset[Any],
        *,
        batch_size: int,
        seed: int,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        super().__init__()
        if len(cast(Sized, train)) < batch_size:
            raise DataError(
                f"batch_size must be at most the train set's {len(cast(Sized, train))} samples, "
                f"got {batch_size}"
            )
        self.train, self.val = train, val
        self.batch_size, self.seed, self.collate_fn = batch_size, seed, collate_fn
        self.num_workers = num_workers

    def batches(self) -> ShuffledBatches:
        """The order of the samples; per-epoch randomness may depend on its ``epoch``."""
        return ShuffledBatches(len(cast(Sized, self.train)), self.batch_size, self.seed)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(
            self.train,
            batch_sampler=self.batches(),
            # A loader draws a seed at each pass. It draws from this generator, so that a pass does
            # not advance the global one, from which training draws noise and masks.
            generator=torch.Generator(),
            collate_fn=self.collate_fn,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(
            self.val,
            self.batch_size,
            generator=torch.Generator(),  # as above: how often validation runs changes nothing
            collate_fn=self.collate_fn,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )
