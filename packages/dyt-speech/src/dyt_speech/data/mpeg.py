"""The frames of MPEG audio (MP3): how many there are, and how many its first one promises.

An MP3 file need not tell its length. libsndfile then guesses it from the first frames' bit rate,
which is wrong where the rate varies or pictures lie in the tags, and reads no further.
"""

from dataclasses import dataclass

# kbit/s by the header's index: of version 1, layers 1 to 3; of versions 2 and 2.5, the same.
_RATES = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_HERTZ = (44_100, 48_000, 32_000)  # of version 1
_TAGS = (b"TAG", b"APETAGEX", b"LYRICS", b"3DI")  # behind the last frame


@dataclass(frozen=True)
class Header:
    """What a frame's four bytes say."""

    length: int  # bytes, these four included
    samples: int
    hertz: int


@dataclass(frozen=True)
class Frames:
    """The frames of a file.

    Attributes:
        start: the place of the first.
        count: how many are whole, without one that only tells the number.
        promised: how many there are by that one; None without it.
        complete: whether the last one is whole.
        skipped: bytes between frames that belong to none.
        samples: of all whole frames.
        longest: samples of a frame.
    """

    start: int
    count: int
    promised: int | None
    complete: bool
    skipped: int
    samples: int
    longest: int


def frames(content: bytes) -> Frames | None:
    """Walk from frame to frame; None where their lengths are not in their headers."""
    at = _first(content, 0)
    if at is None:
        return None
    first = _header(content, at)
    assert first is not None
    promised = _promised(content[at : at + first.length])
    if promised is not None:
        at += first.length
    start, count, skipped, samples = at, 0, 0, 0
    while (found := _header(content, at)) is not None or not _ends(content, at):
        if found is None:  # a tag between two recordings that were joined, or damage
            past = _past_tag(content, at)
            again = _first(content, past)
            skipped += (len(content) if again is None else again) - past
            if again is None:
                break
            at = again
            continue
        if at + found.length > len(content):
            return Frames(start, count, promised, False, skipped, samples, first.samples)
        count, samples, at = count + 1, samples + found.samples, at + found.length
    return Frames(start, count, promised, True, skipped, samples, first.samples)


def with_promise(content: bytes, found: Frames) -> bytes:
    """The frames behind one that tells their number, as Xing's encoder writes it.

    What lies before the first frame is left out.
    """
    header = bytearray(content[found.start : found.start + 4])
    header[1] |= 1  # no checksum
    header[2] = header[2] & 0b1100 | 12 << 4  # a rate that gives it room
    own = _header(bytes(header), 0)
    assert own is not None
    is_mono, is_version_1 = header[3] >> 6 == 3, header[1] >> 3 & 3 == 3
    side = (17 if is_mono else 32) if is_version_1 else (9 if is_mono else 17)
    told = b"Xing" + (1).to_bytes(4, "big") + found.count.to_bytes(4, "big")
    first = bytes(header) + bytes(side) + told
    return first.ljust(own.length, b"\0") + content[found.start :]


def _header(content: bytes, at: int) -> Header | None:
    """Of the frame at this place; None if there is none, or its length is free."""
    if len(content) < at + 4 or content[at] != 0xFF or content[at + 1] & 0xE0 != 0xE0:
        return None
    version_bits, layer_bits = content[at + 1] >> 3 & 3, content[at + 1] >> 1 & 3
    rate, hertz, padding = content[at + 2] >> 4, content[at + 2] >> 2 & 3, content[at + 2] >> 1 & 1
    if version_bits == 1 or layer_bits == 0 or rate in (0, 15) or hertz == 3:
        return None
    version, layer = 1 if version_bits == 3 else 2, 4 - layer_bits
    sampled = _HERTZ[hertz] // {3: 1, 2: 2, 0: 4}[version_bits]
    bits = 1000 * _RATES[version, layer][rate]
    if layer == 1:
        return Header(4 * (12 * bits // sampled + padding), 384, sampled)
    samples = 576 if (version, layer) == (2, 3) else 1152
    return Header(samples // 8 * bits // sampled + padding, samples, sampled)


def _first(content: bytes, start: int) -> int | None:
    """The next place from ``start`` on where one frame follows another, or is the last."""
    at = _past_tag(content, start)
    while (at := content.find(b"\xff", at)) >= 0:
        found = _header(content, at)
        if found is not None:
            then = at + found.length
            following = _header(content, then)
            if then == len(content) or (following and following.hertz == found.hertz):
                return at
        at += 1
    return None


def _past_tag(content: bytes, at: int) -> int:
    """The place behind ID3 tags: their length has seven bits a byte, and may have a footer."""
    while content[at : at + 3] == b"ID3" and len(content) >= at + 10:
        size = sum((content[at + 6 + i] & 127) << 7 * (3 - i) for i in range(4))
        at += 10 + size + (10 if content[at + 5] & 0x10 else 0)
    return at


def _ends(content: bytes, at: int) -> bool:
    """Whether nothing follows but tags or zeros."""
    rest = content[at:]
    return rest.startswith(_TAGS) or not rest.strip(b"\0") or _past_tag(content, at) >= len(content)


def _promised(frame: bytes) -> int | None:
    """The number of frames, by Xing's, LAME's or Fraunhofer's first one."""
    for mark, place in ((b"Xing", 8), (b"Info", 8), (b"VBRI", 14)):
        start = frame.find(mark, 4, 60)
        if start < 0:
            continue
        if mark != b"VBRI" and not frame[start + 7] & 1:  # it tells other things only
            return None
        return int.from_bytes(frame[start + place : start + place + 4], "big")
    return None
