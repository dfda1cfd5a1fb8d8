"""A data module for map-style data sets, with the same batches for every variant."""

from collections.abc import Callable, Iterator, Sequence, Sized
from itertools import chain
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler, Subset

from dyt_bench.errors import DataError

__all__ = [
    "CutBatches",
    "DealtBatches",
    "SeededDataModule",
    "ShuffledBatches",
    "at_most",
    "nth_batch",
    "order_of",
    "summed",
    "weight",
]

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


def place() -> tuple[int, int]:
    """This process's rank, and how many processes train together: 0 and 1 for one alone."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


class CutBatches(DistributedSampler[Any]):
    """This process's equal part of every batch of one global order, sample by sample.

    A loader collects the samples in batches again. It is a `DistributedSampler`, so that a Trainer
    of several processes leaves the order as it is.
    """

    def __init__(self, batches: ShuffledBatches) -> None:
        # Not DistributedSampler's own: it wants a process group even for one process.
        self.batches = batches
        self.rank, self.num_replicas = place()

    def __len__(self) -> int:
        return len(self.batches) * self.batches.batch_size // self.num_replicas

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            size = len(batch) // self.num_replicas
            yield from batch[self.rank * size : (self.rank + 1) * size]

    def set_epoch(self, epoch: int) -> None:
        """A Trainer calls it before each epoch."""
        self.batches.seek(epoch, 0)


class DealtBatches(DistributedSampler[Any]):
    """Whole batches in turn, sample by sample: of n processes rank r gets r, r + n, r + 2n, ...

    The batches, and so what is drawn for each, are the same for any number of processes.
    """

    def __init__(self, batches: Sequence[Sequence[Any]]) -> None:
        rank, processes = place()
        self.batches = batches[rank::processes]

    def __len__(self) -> int:
        return sum(map(len, self.batches))

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self.batches)

    def set_epoch(self, epoch: int) -> None:
        """Every pass is the same."""


def summed(totals: Tensor) -> Tensor:
    """The sum of what each process holds, on every process."""
    _, processes = place()
    if processes > 1:
        totals = totals.to("cuda" if distributed.get_backend() == "nccl" else "cpu", copy=True)
        distributed.all_reduce(totals)
    return totals


def weight(count: int) -> int:
    """The ``batch_size`` of a value that is a mean of ``count``, logged with ``sync_dist=True``.

    Lightning averages the counts over the processes as whole numbers: of 2 and 3 it makes 2.
    """
    return count * place()[1]


def nth_batch(index: int) -> int:
    """The number, among all validation batches, of this process's batch ``index``."""
    rank, processes = place()
    return index * processes + rank


def in_order(samples: int, batch_size: int) -> list[range]:
    """Batches of a data set in its order; the last one may be smaller."""
    starts = range(0, samples, batch_size)
    return [range(start, min(start + batch_size, samples)) for start in starts]


def order_of(loader: object) -> ShuffledBatches | None:
    """The global order of a training loader's batches, where `ShuffledBatches` decides it."""
    sampler = getattr(loader, "sampler", None)
    if isinstance(sampler, CutBatches):
        return sampler.batches
    batches = getattr(loader, "batch_sampler", None)
    return batches if isinstance(batches, ShuffledBatches) else None


class SeededDataModule(LightningDataModule):
    """Serves a training and a validation set in an order that depends on the seed alone.

    Training batches are shuffled in each epoch and always full (`ShuffledBatches`). Validation
    batches come in the data set's order, and the last one may be smaller.

    Where several processes train together, as with ``Trainer(strategy="ddp")``, each gets its
    equal part of every training batch, and validation batches in turn, each of them once.

    Args:
        batch_size: samples of a training step, of all processes together.

    Raises:
        DataError: the training set holds less than one batch.
    """

    def __init__(
        self,
        train: Dataset[Any],
        val: Dataset[Any],
        *,
        batch_size: int,
        seed: int = 0,
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
        self.micro_batch: int | None = None  # samples that a training loader gives at once

    def batches(self) -> ShuffledBatches:
        """The order of the samples; per-epoch randomness may depend on its ``epoch``."""
        return ShuffledBatches(len(cast(Sized, self.train)), self.batch_size, self.seed)

    def train_dataloader(self) -> DataLoader[Any]:
        """This process's part of each batch, whole or in micro-batches.

        Raises:
            DataError: the parts are not equal.
        """
        return self.loader(self.train, CutBatches(self.batches()), self.part(), drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """This process's batches.

        Raises:
            DataError: there are more processes than validation samples.
        """
        samples, (_, processes) = len(cast(Sized, self.val)), place()
        if samples < processes:
            raise DataError(
                f"{samples} validation samples are too few for {processes} processes: expected "
                "one for each"
            )
        size = min(self.batch_size, samples // processes) if processes > 1 else self.batch_size
        return self.loader(self.val, DealtBatches(in_order(samples, size)), size)

    def part(self) -> int:
        """Samples that this process gets at once: of a training batch, or of a micro-batch.

        Raises:
            DataError: the parts are not equal.
        """
        return self.batch_size // place()[1] // self.parts()

    def parts(self) -> int:
        """How many micro-batches this process's part of a batch is.

        Raises:
            DataError: the parts are not equal.
        """
        _, processes = place()
        parts, rest = divmod(self.batch_size, processes * (self.micro_batch or 1))
        if rest:
            micro = "" if self.micro_batch is None else f" in micro-batches of {self.micro_batch}"
            raise DataError(
                f"a batch_size of {self.batch_size} cannot be divided among {processes} "
                f"processes{micro}: expected a multiple of {processes * (self.micro_batch or 1)}"
            )
        return 1 if self.micro_batch is None else parts

    def loader(
        self, samples: Dataset[Any], sampler: Sampler[Any], size: int, *, drop_last: bool = False
    ) -> DataLoader[Any]:
        """A loader of batches of ``size``."""
        return DataLoader(
            samples,
            size,
            sampler=sampler,
            drop_last=drop_last,
            # A loader draws a seed at each pass. It draws from this generator, so that a pass does
            # not advance the global one, from which training draws noise and masks.
            generator=torch.Generator(),
            collate_fn=self.collate_fn,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )
