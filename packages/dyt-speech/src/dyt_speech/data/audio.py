"""Recordings of any format as 16-bit samples at 16 kHz, decoded once into one file.

What cannot be decoded is reported before training, with its file and place.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate
from math import isqrt
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torchaudio.transforms import Resample

from dyt_bench.plugin.derived import derived
from dyt_bench.plugin.domain import DataError, reason
from dyt_bench.plugin.files import digest_files
from dyt_bench.plugin.notices import notice
from dyt_bench.plugin.reading import read_each
from dyt_bench.plugin.task import digest
from dyt_speech.data.containers import check_frames, opened, promised_samples

SAMPLE_RATE = 16_000  # Hz, after resampling
Samples = NDArray[np.int16]

# Fewer bytes of files are decoded into memory at each start, which takes less than a second.
_IN_MEMORY = 16 * 2**20
_FORMAT = 3  # of derived files; raise it when their content changes
_BLOCK = 10  # seconds decoded at a time, and the precision of the place of a fault
_RATES = range(1_000, 768_001)  # Hz that a recording may have
_MOST = 2**29  # samples of a recording, before and after resampling: 9 h at 16 kHz take 2 GiB
_VALUES = 2**24  # of all channels, decoded at a time, at most
_KERNEL = 2**22  # weights of a resampling filter, about: that of 44.1 kHz has 80,000


@dataclass(frozen=True)
class Recording:
    """The place of a recording among all samples, and a hash of its own."""

    path: Path
    first: int
    length: int
    content: str = ""

    def windows(self, length: int, hop: int) -> int:
        """How many whole windows of ``length`` samples start at a multiple of ``hop``."""
        return max(0, 1 + (self.length - length) // hop)


@dataclass(frozen=True)
class Decoded:
    """Recordings one after another, mono at 16 kHz, in memory or mapped from a file."""

    samples: Samples
    recordings: tuple[Recording, ...]


def decode_all(paths: Sequence[Path], *, skip: bool = False) -> Decoded:
    """All recordings, in their order; from 16 MiB of files on, the cache keeps the samples.

    Args:
        skip: leave out those that cannot be decoded; else they are an error.

    Raises:
        DataError: files are not audio, are cut off or damaged, or the cache cannot be written.
    """
    if sum(path.stat().st_size for path in paths) < _IN_MEMORY:
        found = list(_decode_each(paths, skip))
        samples = np.concatenate([samples for _, samples in found])
        return _decoded(samples, [(path, len(own), _hash(own)) for path, own in found])
    folder = os.path.commonpath([path.parent for path in paths])
    order = [os.path.relpath(path, folder) for path in paths]
    key = digest(_FORMAT, skip, order, digest_files(paths))
    kept = derived(f"speech/samples-{key}", lambda kept: _write(paths, skip, kept))
    samples = np.memmap(kept / "samples.s16", dtype=np.int16, mode="r")
    places = json.loads((kept / "recordings.json").read_text())
    return _decoded(samples, [(paths[number], *rest) for number, *rest in places])


def _decoded(samples: Samples, places: Sequence[tuple[Path, int, str]]) -> Decoded:
    firsts = accumulate((length for _, length, _ in places), initial=0)
    recordings = (
        Recording(path, first, length, content)
        for first, (path, length, content) in zip(firsts, places, strict=False)
    )
    return Decoded(samples, tuple(recordings))


def _write(paths: Sequence[Path], skip: bool, folder: Path) -> None:
    """All samples in one file of ``folder``, the recordings' numbers and lengths in another."""
    print(f"decoding {len(paths):,} recordings, once, into the cache", flush=True)
    folder.mkdir()
    numbers, places = {path: number for number, path in enumerate(paths)}, []
    with (folder / "samples.s16").open("wb") as file:
        for path, samples in _decode_each(paths, skip):
            file.write(samples.tobytes())
            places.append((numbers[path], len(samples), _hash(samples)))
    (folder / "recordings.json").write_text(json.dumps(places))


def _decode_each(paths: Sequence[Path], skip: bool) -> Iterator[tuple[Path, Samples]]:
    """Decode in threads, in order: libsndfile, FFmpeg and torch release Python's lock."""
    return read_each(paths, decode, skip=skip, threads=os.cpu_count() or 1)


def _hash(samples: Samples) -> str:
    return blake2b(samples.tobytes(), digest_size=16).hexdigest()


def decode(path: Path) -> Samples:
    """One recording, channels averaged; an empty one has no samples.

    Raises:
        DataError: it is not audio, is cut off or damaged: names the second.
    """
    try:
        if not path.stat().st_size:
            return np.zeros(0, np.int16)
        return _decode_g722(path) if path.suffix.lower() == ".g722" else _decode_file(path)
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # decoders have no class in common
        said = reason(error)
        raise DataError(f"{path} cannot be read as audio: {said}") from None


def _decode_file(path: Path) -> Samples:
    # soundfile's wheel contains libsndfile. torchaudio.load needs torchcodec, which fails where
    # FFmpeg's libraries are not installed on the system.
    try:
        file, rest = opened(path)
    except soundfile.LibsndfileError as error:
        raise DataError(f"{path} cannot be read as audio: {error.error_string}") from None
    blocks: list[NDArray[np.float32]] = []
    with file:
        rate = file.samplerate
        if rate not in _RATES:
            raise DataError(
                f"{path} has {rate:,} samples a second: expected {_RATES[0]:,} to {_RATES[-1]:,}"
            )
        most = min(_MOST, _MOST * rate // SAMPLE_RATE)
        size = min(_BLOCK * rate, _VALUES // file.channels)
        try:
            # Not `blocks`, which pads a file that is cut off with uninitialised memory.
            while len(block := file.read(size, dtype="float32", always_2d=True)):
                blocks.append(block.mean(1))
                if size * (len(blocks) - 1) > most:
                    raise DataError(
                        f"{path} lasts more than {most / rate / 3600:.1f} h, the most that is "
                        f"read at {rate:,} Hz: divide it into shorter recordings"
                    )
        except soundfile.LibsndfileError as error:
            place = size * len(blocks) / rate
            raise DataError(f"{path} is damaged after {place:g} s: {error.error_string}") from None
        wave = np.concatenate([np.zeros(0, np.float32), *blocks])
        promised, may_lack = promised_samples(file, rest)
        if len(wave) < promised - may_lack:
            raise DataError(
                f"{path} is cut off or damaged after {len(wave) / rate:.1f} s: it promises "
                f"{promised / rate:.1f} s"
            )
    if rest is not None:
        check_frames(rest, path)
    finite = np.isfinite(wave)
    if not finite.all():
        place = finite.argmin() / rate
        raise DataError(f"{path} holds a sample that is no finite number, at {place:.3f} s")
    return _as_16_bit(wave, rate, path)


def _as_16_bit(wave: NDArray[np.float32], rate: int, path: Path) -> Samples:
    if beyond := int((np.abs(wave) > 1).sum()):
        notice("samples beyond full scale, clipped to it", path, beyond)
    if rate != SAMPLE_RATE and len(wave):
        wave = _resample(speed(rate))(torch.from_numpy(wave)).numpy()
    return np.clip(np.round(wave * 2**15), -(2**15), 2**15 - 1).astype(np.int16)


def _decode_g722(path: Path) -> Samples:
    """G.722 at 64 kbit/s, as telephone systems store it: no header, always 16 kHz and mono."""
    try:
        import av
    except ImportError:
        raise DataError(f"{path} is G.722, which PyAV decodes: pip install av") from None
    with av.open(str(path), format="g722") as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return np.concatenate([np.zeros(0, np.int16), *frames])


def speed(rate: int) -> Fraction:
    """Samples before resampling for each one after it: ``rate / SAMPLE_RATE``, or nearly.

    The filter has as many weights as numerator times denominator: 256 million at 16,001 Hz.
    Of fractions that need about 4 million, the nearest is at most 0.024 % off: such a recording
    plays that much faster or slower. The common rates are exact.
    """
    exact = Fraction(rate, SAMPLE_RATE)
    return exact.limit_denominator(isqrt(int(_KERNEL / max(1.0, float(exact)))))


@lru_cache(8)  # making a filter takes longer than applying it; each has up to 16 MiB
def _resample(by: Fraction) -> Resample:
    return Resample(by.numerator, by.denominator)
