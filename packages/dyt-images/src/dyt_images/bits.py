"""How many bits a colour has in an image file, which Pillow does not always say.

It opens 16-bit RGB as 8-bit and cuts off the rest, in PNG, TIFF, PPM, JPEG 2000, AVIF and others.
"""

import re
from pathlib import Path
from typing import Any

from PIL import Image

_HEAD = 2**16  # bytes, in which formats of several parts describe their pixels
_BITS_PER_SAMPLE = 258  # TIFF's tag
_SIZ = 40  # bytes from JPEG 2000's SIZ marker to the depth of its first component


def bits(image: Image.Image, file: str | Path) -> int:
    """The bits of a colour in ``file``, opened as ``image`` and not decoded yet."""
    if image.mode[0] in "IF":  # integers and floats
        return 32
    if image.format == "TIFF":
        found = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, 8)
        return max(found) if isinstance(found, tuple) else int(found)
    if image.format == "JPEG2000":
        return _in_jpeg_2000(_head(file))
    if image.format == "AVIF":
        return _in_avif(_head(file))
    return max([8, *(_in_tile(tile) for tile in getattr(image, "tile", []))])


def _head(file: str | Path) -> bytes:
    with open(file, "rb") as opened:
        return opened.read(_HEAD)


def _in_tile(tile: Any) -> int:
    """Of what Pillow gives its decoders: the codec's name, two places, the arguments."""
    codec, arguments = tile[0], tile[3]
    values = arguments if isinstance(arguments, tuple) else (arguments,)
    if codec in ("ppm", "ppm_plain"):
        return int(values[-1]).bit_length()  # the highest value of a colour
    raw = " ".join(map(str, values))
    return 16 if codec == "SGI16" or re.search(r";16[BLN]|BC6", raw) else 8


def _in_jpeg_2000(head: bytes) -> int:
    start = head.find(b"\xff\x4f\xff\x51") + 2
    depth = head[start + _SIZ : start + _SIZ + 1]
    return (depth[0] & 127) + 1 if start > 1 and depth else 8


def _in_avif(head: bytes) -> int:
    """Of the AV1 configuration box, in which one bit marks 10 or 12 bits."""
    start = head.find(b"av1C")
    return 10 if start > 0 and head[start + 6] & 0x40 else 8
