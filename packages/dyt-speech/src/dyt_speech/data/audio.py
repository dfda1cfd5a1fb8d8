"""Recordings of any format as 16-bit samples at 16 kHz: decoded once, then read from one place.

Whatever cannot be decoded is found here, before training, and named with the place.
"""

import json
import os
import shutil
import tempfile
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

from dyt_bench.plugin import fetch
from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.task import digest

SAMPLE_RATE = 16_000  # Hz, after resampling
Samples = NDArray[np.int16]

# Files of less are decoded into memory at each start: that takes less than a second.
_IN_MEMORY = 16 * 2**20  # bytes, as the files have them
_FORMAT = 1  # of what is kept in the cache
_MAY_LACK = 0.1  # seconds: an MP3's header counts the encoder's padding
_BLOCK = 10  # seconds decoded at a time: the place of a fault is known as precisely
_AT_ONCE = 64  # recordings decoded in parallel, before they are written in their order


@dataclass(frozen=True)
class Recording:
    """A recording's place among all samples."""

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
    """All recordings, in their order; larger ones are kept in the cache of data sets.

    Raises:
        DataError: a file is no audio, is cut off or damaged, or the cache has no room.
    """
    stats = [path.stat() for path in paths]
    if sum(stat.st_size for stat in stats) < _IN_MEMORY:
        decoded = list(_decode_in_parallel(paths))
        return _decoded(paths, np.concatenate(decoded), [len(samples) for samples in decoded])
    key = digest(
        _FORMAT, [(p, s.st_size, s.st_mtime_ns) for p, s in zip(paths, stats, strict=True)]
    )
    folder = fetch.cache() / "derived" / "speech" / key
    if not folder.exists():
        _keep(folder, paths)
    samples = np.memmap(folder / "samples.s16", dtype=np.int16, mode="r")
    return _decoded(paths, samples, json.loads((folder / "lengths.json").read_text()))


def _decoded(paths: Sequence[Path], samples: Samples, lengths: Sequence[int]) -> Decoded:
    firsts = [0, *accumulate(lengths)]
    return Decoded(samples, tuple(map(Recording, paths, firsts, lengths)))


def _keep(folder: Path, paths: Sequence[Path]) -> None:
    """Decode into ``folder``, whole or not at all."""
    print(f"decoding {len(paths):,} recordings, once, into {folder}", flush=True)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            lengths = []
            with (made / "samples.s16").open("wb") as file:
                for samples in _decode_in_parallel(paths):
                    samples.tofile(file)
                    lengths.append(len(samples))
            (made / "lengths.json").write_text(json.dumps(lengths))
            if not folder.exists():  # another process may have been faster
                shutil.move(made, folder)
    except OSError as error:
        raise DataError(
            f"{folder.parent}: cannot keep decoded recordings there: {error.strerror}; set "
            "DYT_BENCH_DATA to a folder with room, two bytes for each sample at 16 kHz"
        ) from None


def _decode_in_parallel(paths: Sequence[Path]) -> Iterator[Samples]:
    """libsndfile, FFmpeg and torch decode outside Python's lock; order is kept."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rest = iter(paths)
        while some := list(islice(rest, _AT_ONCE)):
            yield from pool.map(decode, some)


def decode(path: Path) -> Samples:
    """One recording, channels averaged; an empty one has no samples.

    Raises:
        DataError: it is no audio, is cut off or damaged: names the second.
    """
    try:
        if not path.stat().st_size:
            return np.zeros(0, np.int16)
        return _decode_g722(path) if path.suffix.lower() == ".g722" else _decode_file(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _decode_file(path: Path) -> Samples:
    # soundfile's wheel carries libsndfile. torchaudio.load has come to need torchcodec, which
    # does not start where FFmpeg's libraries are not installed on the system.
    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        raise DataError(f"{path} cannot be read as audio: {error.error_string}") from None
    blocks: list[NDArray[np.float32]] = []
    with file:
        rate = file.samplerate
        try:
            # Not `blocks`, which fills up what is cut off with whatever memory held.
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
    """G.722 at 64 kbit/s, as telephone systems keep it: no header, always 16 kHz and mono."""
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
