"""Open recordings to their end: lengths that are not in the file, and what is missing of it.

libsndfile reads what is there of a file that is cut off, as if it were whole. What the container
promised stands in its log alone; what an MP3 file promised, in its frames (`dyt_speech.data.mpeg`).
"""

import io
import re
from pathlib import Path

import soundfile

from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.notices import notice
from dyt_speech.data.mpeg import Frames, frames, with_promise

_UNKNOWN_FRAMES = 2**62  # libsndfile's number for a length that the header does not tell
# Lengths in the headers of recordings that were written to a pipe, by SoX and by FFmpeg.
_UNKNOWN = ((0x7FFFF000, 0x80000100), (0xFFFFF000, 0x100000000))
_LENGTH = re.compile(r"^ *(data|SSND|BODY|Data Size|riff) *: (\d+) \(should be (\d+)\)", re.M)
_CUT = re.compile(
    "Last page lacks an end-of-stream bit|Junk after the last page|Seems to be a truncated file"
    "|Frame count read from 'COMM' chunk|does not match value from 'ds64'|Data length .* should be"
)
_NIST = re.compile(rb"sample_count -i (\d+)")  # in the header, of 1,024 bytes
_MAY_LACK = 3  # frames: an encoder's delay and padding are not played


def opened(path: Path) -> tuple[soundfile.SoundFile, Frames | None]:
    """The file, ready to be read to its end, and its frames if it is MP3.

    Raises:
        DataError: it is cut off, as its container tells; its frames are for `check_frames`.
        soundfile.LibsndfileError: it is not audio.
    """
    file = soundfile.SoundFile(path)
    if file.format == "MP3":
        file.close()
        return _opened_mp3(path)
    if file.format in ("WAV", "WAVEX") and not file.frames:
        file.close()
        return soundfile.SoundFile(_with_length(path)), None
    try:
        _check(file, path)
    except DataError:
        file.close()
        raise
    return file, None


def promised_samples(file: soundfile.SoundFile, found: Frames | None) -> tuple[int, int]:
    """How many samples there must be for the recording to be whole, and how many may lack."""
    if found is not None:
        length = found.samples if found.promised is None else int(file.frames)
        return length, _MAY_LACK * found.longest
    if file.format == "MP3" or file.frames >= _UNKNOWN_FRAMES:
        return 0, 0
    return int(file.frames), 0


def check_frames(found: Frames, path: Path) -> None:
    """Raise DataError if frames are missing, or bytes between them belong to none."""
    if found.promised is not None and found.count < found.promised - 1:
        said = f"it promises {found.promised:,} frames, and {found.count:,} are there"
    elif not found.complete:
        said = f"the last of {found.count + 1:,} frames is not whole"
    elif found.skipped:
        said = f"{found.skipped:,} bytes between its frames are no audio"
    else:
        return
    raise DataError(f"{path} is cut off or damaged: {said}")


def _check(file: soundfile.SoundFile, path: Path) -> None:
    log = file.extra_info
    lengths = [(int(wanted), int(there)) for _, wanted, there in _LENGTH.findall(log)]
    known = [pair for pair in lengths if not any(a <= pair[0] < b for a, b in _UNKNOWN)]
    if file.format == "NIST" and (count := _NIST.search(_head(path))):
        known += [(int(count[1]), file.frames)] if int(count[1]) > file.frames else []
    if known:
        wanted, there = known[0]
        seconds = file.frames / file.samplerate
        raise DataError(
            f"{path} is cut off or damaged after {seconds:.1f} s: it promises "
            f"{seconds * wanted / max(there, 1):.1f} s"
        )
    if cut := _CUT.search(log):
        raise DataError(
            f"{path} is cut off or damaged after {file.frames / file.samplerate:.1f} s: "
            f"{cut[0].rstrip('.')}"
        )
    if lengths or file.frames >= _UNKNOWN_FRAMES:
        notice("recordings that do not tell their length, read to their end", path)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1024)


def _with_length(path: Path) -> io.BytesIO | str:
    """A WAV file of length 0 with the length of what follows its header, if anything does."""
    content = bytearray(path.read_bytes())
    at = 12
    while (name := content[at : at + 4]) and name != b"data":
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    length = len(content) - at - 8
    is_chunk = re.match(rb"[A-Za-z][A-Za-z0-9 ]{3}", content[at + 8 : at + 12])
    if length <= 0 or (is_chunk and _is_last_chunk(content, at + 8)):
        return str(path)  # an empty recording
    notice("recordings that do not tell their length, read to their end", path)
    content[at + 4 : at + 8] = min(length, 2**32 - 1).to_bytes(4, "little")
    content[4:8] = min(len(content) - 8, 2**32 - 1).to_bytes(4, "little")
    return io.BytesIO(content)


def _is_last_chunk(content: bytearray, at: int) -> bool:
    size = int.from_bytes(content[at + 4 : at + 8], "little")
    return at + 8 + size + size % 2 <= len(content)


def _opened_mp3(path: Path) -> tuple[soundfile.SoundFile, Frames | None]:
    content = path.read_bytes()
    found = frames(content)
    if found is None:  # of free length
        notice("recordings that do not tell their length, read as far as is guessed", path)
    elif found.promised is None:
        return soundfile.SoundFile(io.BytesIO(with_promise(content, found))), found
    return soundfile.SoundFile(path), found
