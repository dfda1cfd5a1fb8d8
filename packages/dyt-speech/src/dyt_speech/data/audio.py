"""Recordings of any format as 16-bit samples at 16 kHz, decoded once into one file.

What cannot be decoded is reported before training, with its file and place.
"""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, islice
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torchaudio.transforms import Resample

from dyt_bench.plugin.derived import derived
from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.task import digest

SAMPLE_RATE = 16_000  # Hz, after resampling
Samples = NDArray[np.int16]

# Fewer bytes of files are decoded into memory at each start, which takes less than a second.
_IN_MEMORY = 16 * 2**20
_FORMAT = 1  # of derived files; raise it when their content changes
_MAY_LACK = 0.1  # seconds: an MP3's header counts the encoder's padding
_BLOCK = 10  # seconds decoded at a time, and the precision of the place of a fault
_AT_ONCE = 64  # recordings decoded in parallel, before they are written in their order


@dataclass(frozen=True)
class Recording:
    """The place of a recording among all samples."""

    path: Path
    first: int
    length: int

    def windows(self, length: int, hop: int) -> int:
        """How many whole windows of ``length`` samples start at a multiple of ``hop``."""
        return max(0, 1 + (self.length - length) // hop)


@dataclass(frozen=True)
class Decoded:
    """Recordings one after another, mono at 16 kHz, in memory or mapped from a file."""

    samples: Samples
    recordings: tuple[Recording, ...]


def decode_all(paths: Sequence[Path]) -> Decoded:
    """All recordings, in their order; from 16 MiB of files on, the cache keeps the samples.

    Raises:
        DataError: a file is not audio, is cut off or damaged, or the cache cannot be written.
    """
    stats = [path.stat() for path in paths]
    if sum(stat.st_size for stat in stats) < _IN_MEMORY:
        decoded = list(_decode_in_parallel(paths))
        return _decoded(paths, np.concatenate(decoded), [len(samples) for samples in decoded])
    key = digest(
        _FORMAT, [(p, s.st_size, s.st_mtime_ns) for p, s in zip(paths, stats, strict=True)]
    )
    folder = derived(f"speech/samples-{key}", lambda folder: _write(paths, folder))
    samples = np.memmap(folder / "samples.s16", dtype=np.int16, mode="r")
    return _decoded(paths, samples, json.loads((folder / "lengths.json").read_text()))


def _decoded(paths: Sequence[Path], samples: Samples, lengths: Sequence[int]) -> Decoded:
    firsts = [0, *accumulate(lengths)]
    return Decoded(samples, tuple(map(Recording, paths, firsts, lengths)))


def _write(paths: Sequence[Path], folder: Path) -> None:
    """All samples in one file of ``folder``, the recordings' lengths in another."""
    print(f"decoding {len(paths):,} recordings, once, into the cache", flush=True)
    folder.mkdir()
    lengths = []
    with (folder / "samples.s16").open("wb") as file:
        for samples in _decode_in_parallel(paths):
            file.write(samples.tobytes())
            lengths.append(len(samples))
    (folder / "lengths.json").write_text(json.dumps(lengths))


def _decode_in_parallel(paths: Sequence[Path]) -> Iterator[Samples]:
    """Decode in threads, in order: libsndfile, FFmpeg and torch release Python's lock."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rest = iter(paths)
        while some := list(islice(rest, _AT_ONCE)):
            yield from pool.map(decode, some)


def decode(path: Path) -> Samples:
    """One recording, channels averaged; an empty one has no samples.

    Raises:
        DataError: it is not audio, is cut off or damaged: names the second.
    """
    try:
        if not path.stat().st_size:
            return np.zeros(0, np.int16)
        return _decode_g722(path) if path.suffix.lower() == ".g722" else _decode_file(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _decode_file(path: Path) -> Samples:
    # soundfile's wheel contains libsndfile. torchaudio.load needs torchcodec, which fails where
    # FFmpeg's libraries are not installed on the system.
    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        raise DataError(f"{path} cannot be read as audio: {error.error_string}") from None
    blocks: list[NDArray[np.float32]] = []
    with file:
        rate = file.samplerate
        try:
            # Not `blocks`, which pads a file that is cut off with uninitialised memory.
            while len(block := file.read(_BLOCK * rate, dtype="float32", always_2d=True)):
                blocks.append(block.mean(1))
        except soundfile.LibsndfileError as error:
            place = _BLOCK * len(blocks)
            raise DataError(f"{path} is damaged after {place} s: {error.error_string}") from None
        wave = np.concatenate([np.zeros(0, np.float32), *blocks])
        if len(wave) < file.frames - _MAY_LACK * rate:
            raise DataError(
                f"{path} is cut off or damaged after {len(wave) / rate:.1f} s: its header promises "
                f"{file.frames / rate:.1f} s"
            )
    finite = np.isfinite(wave)
    if not finite.all():
        place = finite.argmin() / rate
        raise DataError(f"{path} holds a sample that is no finite number, at {place:.3f} s")
    return _as_16_bit(wave, rate)


def _as_16_bit(wave: NDArray[np.float32], rate: int) -> Samples:
    if rate != SAMPLE_RATE and len(wave):
        wave = _resample(rate)(torch.from_numpy(wave)).numpy()
    return np.clip(np.round(wave * 2**15), -(2**15), 2**15 - 1).astype(np.int16)


def _decode_g722(path: Path) -> Samples:
    """G.722 at 64 kbit/s, as telephone systems store it: no header, always 16 kHz and mono."""
    try:
        import av
    except ImportError:
        raise DataError(f"{path} is G.722, which PyAV decodes: pip install av") from None
    with av.open(str(path), format="g722") as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return np.concatenate(frames)


@cache  # making the filter takes longer than applying it
def _resample(rate: int) -> Resample:
    return Resample(rate, SAMPLE_RATE)
