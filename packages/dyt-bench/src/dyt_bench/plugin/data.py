"""A data module for plugins that hold map-style data sets: same batches for every variant."""

from collections.abc import Callable, Iterator, Sized
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from dyt_bench.errors import DataError

__all__ = ["SeededDataModule", "ShuffledBatches", "at_most"]


def at_most(samples: Dataset[Any], count: int | None) -> Dataset[Any]:
    """``count`` of the samples, the same for every seed; all if there are no more, or for None."""
    total = len(cast(Sized, samples))
    if count is None or count >= total:
        return samples
    chosen = torch.randperm(total, generator=torch.Generator().manual_seed(0))[:count]
    return Subset(samples, chosen.sort().values.tolist())


class ShuffledBatches(Sampler[list[int]]):
    """Indices of full batches in an order that seed and epoch decide, and nothing else.

    So any batch of any epoch is found at once, and training that was cut off in the middle of
    one goes on there. Each pass is an epoch; `seek` chooses which one the next pass is.
    """

    def __init__(self, samples: int, batch_size: int, seed: int) -> None:
        self.samples, self.batch_size, self.seed = samples, batch_size, seed
        self.epoch, self.first = 0, 0

    def seek(self, epoch: int, first: int) -> None:
        """Let the next pass be ``epoch``, from its batch number ``first`` on; both from 0."""
        self.epoch, self.first = epoch, first

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return self.samples // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.samples)
        first = self.first
        self.seek(self.epoch + 1, 0)
        for number in range(first, len(self)):
            yield order[number * self.batch_size : (number + 1) * self.batch_size].tolist()


class SeededDataModule(LightningDataModule):
    """Serves a train and a validation data set in an order that only the seed decides.

    Train batches are shuffled anew each epoch and always full (`ShuffledBatches`); validation
    batches come in the data set's order, the last one as small as it is.

    Raises:
        DataError: the train set holds less than one batch.
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
        """The order of an epoch's samples; what is drawn anew each epoch may ask for its number."""
        return ShuffledBatches(len(cast(Sized, self.train)), self.batch_size, self.seed)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(
            self.train,
            batch_sampler=self.batches(),
            # A loader draws a seed at each pass: from here, so that where training begins a pass
            # does not move the global generator that it draws noise and masks from.
            generator=torch.Generator(),
            collate_fn=self.collate_fn,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(
            self.val,
            self.batch_size,
            generator=torch.Generator(),  # as above: validating more or less often changes nothing
            collate_fn=self.collate_fn,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )
