"""Windows of a genome as examples for language models: with next or with masked bases."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dyt_bench.plugin.data import ShuffledBatches
from dyt_dna.bases import MASK, UNKNOWN
from dyt_dna.data.sequences import Stretch

Example = tuple[Tensor, Tensor, Tensor]  # inputs and targets (L,) int64, coding (L,) bool


class Windows(Dataset[Stretch]):
    """Windows of ``size`` bases on one strand of a stretch, one every ``stride`` bases."""

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
    """Inputs are a window without its last base, targets the window without its first."""

    def __init__(self, windows: Dataset[Stretch]) -> None:
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Example:
        window = self.windows[index]
        tokens = window.tokens.long()
        return tokens[:-1], tokens[1:], window.coding[1:]


class MaskedBases(Dataset[Example]):
    """Targets are bases of a window, chosen at random, and N elsewhere; inputs hide them.

    The first base of a window is left out, so that the same bases can be targets as in
    `NextBases`. The masks follow from the seed and the index, or from seed, epoch and index where
    the index is a pair ``(epoch, index)``. Neither worker processes nor resuming change them.

    Args:
        rate: share of the bases that are targets.
        kept, random: share of the targets that the inputs show, and that another base stands for.
    """

    def __init__(
        self, windows: Dataset[Stretch], *, rate: float, kept: float, random: float, seed: int
    ) -> None:
        self.windows, self.seed = windows, seed
        self.rate, self.kept, self.random = rate, kept, random

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
    """The same batches, with each index as a pair ``(epoch, index)``."""

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:  # type: ignore[override]
        epoch = self.epoch
        for batch in super().__iter__():
            yield [(epoch, index) for index in batch]
