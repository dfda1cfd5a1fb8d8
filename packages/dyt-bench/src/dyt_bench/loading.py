"""A data module for plugins that hold map-style data sets: same batches for every norm."""

from collections.abc import Callable, Sized
from typing import Any, cast

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Subset

from dyt_bench.errors import DataError


def at_most(samples: Dataset[Any], count: int | None) -> Dataset[Any]:
    """``count`` of the samples, the same for every seed; all if there are no more, or for None."""
    total = len(cast(Sized, samples))
    if count is None or count >= total:
        return samples
    chosen = torch.randperm(total, generator=torch.Generator().manual_seed(0))[:count]
    return Subset(samples, chosen.sort().values.tolist())


class SeededDataModule(LightningDataModule):
    """Serves a train and a validation data set in an order that only the seed decides.

    Train batches are shuffled anew each epoch and always full; validation batches come in the
    data set's order, the last one as small as it is.

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

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(
            self.train,
            self.batch_size,
            shuffle=True,
            drop_last=True,
            generator=torch.Generator().manual_seed(self.seed),
            collate_fn=self.collate_fn,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(
            self.val,
            self.batch_size,
            # A loader draws a seed at each pass: from here, so that validating more or less
            # often does not move the global generator that training draws noise and masks from.
            generator=torch.Generator(),
            collate_fn=self.collate_fn,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )
