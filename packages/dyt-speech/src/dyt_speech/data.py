"""One-second windows of speech at 16 kHz: the clips of the package, or the user's recordings."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
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
TRAIN_HOP = 0.1  # seconds between the starts of two windows
VAL_HOP = 1.0
VAL_EVERY = 5  # every fifth file, in the order of names, is held out


@dataclass(frozen=True)
class Recording:
    """A file of at least one second."""

    path: Path
    sample_rate: int  # Hz, the file's own
    frames: int  # samples a channel


class Windows(Dataset[Tensor]):
    """Every whole second of ``recordings`` that starts at a multiple of ``hop`` seconds.

    A sample is a waveform (16000,), channels averaged, of zero mean and unit variance, as
    wav2vec 2.0's feature extractor hands it on. Windows are read when asked for, so a corpus may
    be larger than memory.
    """

    def __init__(self, recordings: Iterable[Recording], *, hop: float) -> None:
        self.starts = [
            (recording, start)
            for recording in recordings
            for start in range(
                0,
                recording.frames - recording.sample_rate + 1,
                round(hop * recording.sample_rate),
            )
        ]

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> Tensor:
        recording, start = self.starts[index]
        wave = _second(recording, start)
        return (wave - wave.mean()) / (wave.std(correction=0) + 1e-5)  # silence stays silence


class SpeechData(SeededDataModule):
    """Batches (B, 16000) of waveforms; no recording is on both sides of the split."""

    def __init__(self, recordings: list[Recording], task: Task) -> None:
        val = recordings[::VAL_EVERY]
        train = [recording for recording in recordings if recording not in val]
        super().__init__(
            Windows(train, hop=TRAIN_HOP),
            Windows(val, hop=VAL_HOP),
            batch_size=task.batch_size,
            seed=task.seed,
        )


def speech_data(task: Task, files: Iterable[Path]) -> SpeechData:
    """The data module of ``files``; those shorter than a second are left out.

    Raises:
        DataError: a file is not audio, or fewer than two last a second.
    """
    recordings = [_recording(file) for file in files]
    long_enough = [each for each in recordings if each.frames >= each.sample_rate]
    if len(long_enough) < 2:
        raise DataError(
            f"{task.path or task.dataset}: {len(long_enough)} of {len(recordings)} recordings last "
            "a second or more; two are needed, one of them to validate on"
        )
    return SpeechData(long_enough, task)


def _recording(path: Path) -> Recording:
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise DataError(f"{path} cannot be read as audio: {error.error_string}") from error
    return Recording(path, info.samplerate, info.frames)


def _second(recording: Recording, start: int) -> Tensor:
    """One second (16000,) from sample ``start`` of the file."""
    rate = recording.sample_rate
    # soundfile, whose wheel carries libsndfile: torchaudio.load has come to need torchcodec, and
    # that needs FFmpeg's libraries installed on the system.
    samples, _ = soundfile.read(
        recording.path, frames=rate, start=start, dtype="float32", always_2d=True
    )
    if len(samples) < rate:
        raise DataError(
            f"{recording.path} ends before the {recording.frames / rate:.1f} s it tells"
        )
    return _resample(rate)(torch.from_numpy(samples).mean(1))


@cache  # the filter takes longer to make than to apply
def _resample(rate: int) -> Resample:
    return Resample(rate, SAMPLE_RATE)
