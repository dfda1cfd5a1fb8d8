"""The data module: windows of one length, or crops of whole utterances as in the paper."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dyt_bench.plugin.data import (
    CutBatches,
    DealtBatches,
    SeededDataModule,
    ShuffledBatches,
    at_most,
)
from dyt_bench.plugin.domain import DataError, entry
from dyt_bench.plugin.notices import notice
from dyt_bench.plugin.reading import check_apart
from dyt_speech.data.audio import SAMPLE_RATE, Decoded, Recording, Samples, decode_all
from dyt_speech.data.files import FILES, recordings_of
from dyt_speech.data.splits import SPLITS

# Seconds between the starts of two windows. In training not a multiple of the model's 20 ms frame:
# on a grid of 100 ms every frame recurred unchanged, and the model memorised it.
TRAIN_HOP = 0.017
VAL_HOP = 1.0
_NAMED = 10  # empty recordings; further ones are counted
VAL_WINDOWS = 128  # at most, so that validating on hours of speech takes seconds


def waveform(samples: Samples, first: int, length: int) -> Tensor:
    """(length,) float32 of zero mean and unit variance, as wav2vec 2.0's feature extractor does."""
    wave = torch.from_numpy(samples[first : first + length].astype(np.float32)) / 2**15
    return (wave - wave.mean()) / (wave.var(correction=0) + 1e-7).sqrt()


class Windows(Dataset[Tensor]):
    """Every whole window of ``seconds`` that starts at a multiple of ``hop`` seconds."""

    def __init__(
        self, samples: Samples, recordings: Sequence[Recording], *, seconds: float, hop: float
    ) -> None:
        self.samples, self.recordings = samples, recordings
        self.length, self.hop = round(seconds * SAMPLE_RATE), round(hop * SAMPLE_RATE)
        counts = (recording.windows(self.length, self.hop) for recording in recordings)
        # The first window of each recording, and finally the number of windows.
        self.firsts = [0, *accumulate(counts)]

    def __len__(self) -> int:
        return self.firsts[-1]

    def place(self, index: int) -> tuple[Recording, int]:
        """The recording of window ``index``, and the window's first sample."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        which = bisect_right(self.firsts, index) - 1
        recording = self.recordings[which]
        return recording, recording.first + (index - self.firsts[which]) * self.hop

    def __getitem__(self, index: int) -> Tensor:
        return waveform(self.samples, self.place(index)[1], self.length)


class Crops(Dataset[Tensor]):
    """Any part of the recordings, indexed by its first sample and its length."""

    def __init__(self, samples: Samples, recordings: Sequence[Recording]) -> None:
        self.samples, self.recordings = samples, recordings

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, crop: tuple[int, int]) -> Tensor:
        return waveform(self.samples, *crop)


class CropBatches(ShuffledBatches):
    """Batches of crops of one length, one crop of each recording; similar lengths go together.

    A crop is as long as the shortest recording of its batch, and at most ``longest`` samples.
    With a seed, crops start anywhere, batches are shuffled each epoch, and the last recordings,
    which fill no batch, are dropped. Without one, crops start where the recording does.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        batch_size: int,
        longest: int,
        seed: int | None = None,
    ) -> None:
        super().__init__(len(recordings), batch_size, seed or 0)
        self.recordings, self.longest, self.shuffled = recordings, longest, seed is not None
        self._epoch: tuple[int, list[int], npt.NDArray[Any], npt.NDArray[Any]] | None = None

    def __len__(self) -> int:
        whole, rest = divmod(self.samples, self.batch_size)
        return whole + (rest > 0 and not self.shuffled)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:  # type: ignore[override]
        epoch, first = self.epoch, self.first
        self.seek(epoch + 1, 0)
        for number in range(first, len(self)):
            yield self._batch(epoch, number)

    def indices(self, step: int) -> npt.NDArray[np.int64]:
        """The crops of batch ``step``, counted from 0 over all epochs: first sample and length."""
        return np.array(self._batch(*divmod(step, len(self))), np.int64)

    def _batch(self, epoch: int, number: int) -> list[tuple[int, int]]:
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, *self._order_of(epoch)
        _, order, batches, starts = self._epoch
        place = batches[number] * self.batch_size
        chosen = order[place : place + self.batch_size]
        length = min(map(self._most, chosen))
        return [(self._start(index, length, starts[index]), length) for index in chosen]

    def _order_of(self, epoch: int) -> tuple[list[int], npt.NDArray[Any], npt.NDArray[Any]]:
        """Recordings by length, the order of the batches cut from them, and where crops start."""
        random = np.random.default_rng([self.seed, epoch])
        everything, batches = np.arange(self.samples), np.arange(len(self))
        starts = np.zeros(self.samples)  # share of the possible starting points
        if self.shuffled:
            random.shuffle(everything)
            random.shuffle(batches)
            starts = random.random(self.samples)
        # Sorting is stable: recordings longer than a crop stay shuffled.
        return sorted(everything.tolist(), key=self._most), batches, starts

    def _most(self, index: int) -> int:
        return min(self.recordings[index].length, self.longest)

    def _start(self, index: int, length: int, share: float) -> int:
        recording = self.recordings[index]
        return recording.first + int(share * (recording.length - length + 1))


class SpeechData(SeededDataModule):
    """Batches (B, samples) of waveforms at 16 kHz; no recording is on both sides of the split.

    If ``shortest`` is ``seconds``, samples are windows of that length. Otherwise they are crops of
    whole recordings, one of each per epoch.

    Args:
        dataset: its name in `dyt_speech.catalog`.
        path: of your own recordings.
        batch_size: samples of a training step, of all processes together.
        seconds: the longest that a sample lasts.
        shortest: seconds; shorter recordings are left out; None: ``seconds``.
        train_samples: train on at most so many.
        skip_bad_files: leave out files that cannot be read; else they are an error.

    Raises:
        DataError: a file is not audio or is damaged, fewer than two recordings are long enough, or
            one side of the split is empty.
        UserError: no data set has that name.
    """

    def __init__(
        self,
        dataset: str = "prompts",
        path: str | Path | None = None,
        *,
        batch_size: int = 4,
        seed: int = 0,
        seconds: float = 1.0,
        shortest: float | None = None,
        train_samples: int | None = None,
        skip_bad_files: bool = False,
    ) -> None:
        folder = None if path is None else Path(path)
        files = entry(FILES, dataset, "dataset")(folder)
        decoded = decode_all(recordings_of(files), skip=skip_bad_files)
        source = folder or dataset
        shortest = seconds if shortest is None else shortest
        self.seconds, self.samples = seconds, decoded.samples
        usable = {
            recording.path: recording
            for recording in decoded.recordings
            if recording.length >= shortest * SAMPLE_RATE
        }
        self.left_out = len(decoded.recordings) - len(usable)
        if len(usable) < 2:
            raise DataError(
                f"{source}: {len(usable)} of {len(decoded.recordings)} "
                f"recordings last {shortest:g} s or more; at least two must, one of them to "
                "validate on"
            )
        self._report_unused(decoded, shortest)
        split = SPLITS[dataset]
        train, val = ([usable[path] for path in side] for side in split.sides(list(usable)))
        if not train or not val:
            raise DataError(
                f"{source}: of {len(usable)} recordings {len(train)} are to "
                f"train on and {len(val)} to validate on; at least one of each is needed"
            )
        held_out = ((recording.content, recording.path) for recording in val)
        check_apart((recording.content for recording in train), held_out, "recordings", source)
        self.labelled = [(recording, split.label(recording.path)) for recording in (*train, *val)]
        self.cropped = shortest < seconds
        sides = self._cropped if self.cropped else self._windows
        super().__init__(*sides(train, val, train_samples), batch_size=batch_size, seed=seed)

    def _report_unused(self, decoded: Decoded, shortest: float) -> None:
        """Notice how many recordings are not used, and the empty ones among them."""
        if self.left_out:
            notice(
                f"{self.left_out} of {len(decoded.recordings)} recordings last less than "
                f"{shortest:g} s and are left out"
            )
        empty = [recording.path for recording in decoded.recordings if not recording.length]
        for path in empty[:_NAMED]:
            notice(f"{path} is empty")
        if len(empty) > _NAMED:
            notice(f"{len(empty) - _NAMED:,} more recordings are empty")

    def _windows(
        self, train: list[Recording], val: list[Recording], most: int | None
    ) -> tuple[Dataset[Any], Dataset[Any]]:
        windows = Windows(self.samples, train, seconds=self.seconds, hop=TRAIN_HOP)
        held_out = Windows(self.samples, val, seconds=self.seconds, hop=VAL_HOP)
        return at_most(windows, most), at_most(held_out, VAL_WINDOWS)

    def _cropped(
        self, train: list[Recording], val: list[Recording], most: int | None
    ) -> tuple[Dataset[Any], Dataset[Any]]:
        chosen = at_most(cast(Dataset[Any], train), most)
        crops = Crops(self.samples, [chosen[i] for i in range(len(cast(Sequence[Any], chosen)))])
        return crops, Crops(self.samples, val)

    def train_dataloader(self) -> DataLoader[Any]:
        if not self.cropped:
            return super().train_dataloader()
        crops = self._crop_batches(self.train, self.seed)
        return self.loader(self.train, CutBatches(crops), self.part(), drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        if not self.cropped:
            return super().val_dataloader()
        crops = list(self._crop_batches(self.val))
        return self.loader(self.val, DealtBatches(crops), self.batch_size)

    def _crop_batches(self, crops: Dataset[Any], seed: int | None = None) -> CropBatches:
        recordings = cast(Crops, crops).recordings
        return CropBatches(recordings, self.batch_size, round(self.seconds * SAMPLE_RATE), seed)
