"""One-second windows of speech at 16 kHz: the clips of the package, or the user's recordings."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path

import soundfile
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchaudio.transforms import Resample

from dyt_bench.cell import Task
from dyt_bench.domain import DataError
from dyt_bench.loading import SeededDataModule

SAMPLE_RATE = 16_000  # Hz, after resampling; a window is one second
# Seconds between the starts of two windows. In training no multiple of the model's 20 ms frame:
# on a grid of 100 ms every frame came back the same, and was learned by heart.
TRAIN_HOP = 0.017
VAL_HOP = 1.0
HELD_OUT = 5  # every fifth recording, in the order of names, is validated on


@dataclass(frozen=True)
class Recording:
    """An audio file, read a second at a time."""

    path: Path
    sample_rate: int  # Hz, the file's own
    frames: int  # samples a channel

    @classmethod
    def open(cls, path: Path) -> "Recording":
        """Reads the header only; raises DataError if there is none that is known."""
        try:
            info = soundfile.info(path)
        except soundfile.LibsndfileError as error:
            raise DataError(f"{path} cannot be read as audio: {error.error_string}") from error
        return cls(path, info.samplerate, info.frames)

    def windows(self, hop: float) -> int:
        """How many whole seconds start at a multiple of ``hop`` seconds."""
        return max(0, 1 + (self.frames - self.sample_rate) // round(hop * self.sample_rate))

    def second(self, number: int, hop: float) -> Tensor:
        """The window of that number: (16000,), channels averaged, as loud as it is."""
        # soundfile's wheel carries libsndfile. torchaudio.load has come to need torchcodec, which
        # does not start where FFmpeg's libraries are not installed on the system.
        samples, _ = soundfile.read(
            self.path,
            start=number * round(hop * self.sample_rate),
            frames=self.sample_rate,
            dtype="float32",
            always_2d=True,
        )
        if len(samples) < self.sample_rate:
            raise DataError(f"{self.path} is cut off: its header promises {self.frames} samples")
        wave: Tensor = _resample(self.sample_rate)(torch.from_numpy(samples).mean(1))
        return wave


class Windows(Dataset[Tensor]):
    """Every whole second of ``recordings`` that starts at a multiple of ``hop`` seconds.

    A sample is a waveform (16000,) of zero mean and unit variance, as wav2vec 2.0's feature
    extractor hands it on. It is read when it is asked for: a corpus may be larger than memory.
    """

    def __init__(self, recordings: Sequence[Recording], *, hop: float) -> None:
        self.recordings, self.hop = recordings, hop
        # The first window of each recording, and at last the number of windows.
        self.firsts = [0, *accumulate(recording.windows(hop) for recording in recordings)]

    def __len__(self) -> int:
        return self.firsts[-1]

    def __getitem__(self, index: int) -> Tensor:
        which = bisect_right(self.firsts, index) - 1
        wave = self.recordings[which].second(index - self.firsts[which], self.hop)
        return (wave - wave.mean()) / (wave.var(correction=0) + 1e-7).sqrt()


class SpeechData(SeededDataModule):
    """Batches (B, 16000) of waveforms; no recording is on both sides of the split."""

    def __init__(self, recordings: Sequence[Recording], task: Task) -> None:
        train = [each for number, each in enumerate(recordings) if number % HELD_OUT]
        super().__init__(
            Windows(train, hop=TRAIN_HOP),
            Windows(recordings[::HELD_OUT], hop=VAL_HOP),
            batch_size=task.batch_size,
            seed=task.seed,
        )


def speech_data(task: Task, files: Iterable[Path]) -> SpeechData:
    """The data module of ``files``; those shorter than a second are left out.

    Raises:
        DataError: a file is not audio, or fewer than two last a second.
    """
    recordings = [Recording.open(file) for file in files]
    usable = [recording for recording in recordings if recording.windows(VAL_HOP)]
    if len(usable) < 2:
        raise DataError(
            f"{task.path or task.dataset}: {len(usable)} of {len(recordings)} recordings last a "
            "second or more; at least two must, one of them to validate on"
        )
    return SpeechData(usable, task)


@cache  # making the filter takes longer than applying it
def _resample(sample_rate: int) -> Resample:
    return Resample(sample_rate, SAMPLE_RATE)
