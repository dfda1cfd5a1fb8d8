"""Check that a .2bit file holds as much as it says, before its parser asks for that much memory."""

import os
from pathlib import Path
from typing import IO, Literal

_SIGNATURE = 0x1A412743


def check_two_bit(file: Path) -> None:
    """Compare the numbers in the file with its size.

    Biopython reserves memory for the bases and blocks that a record promises: 4 GB for a file of a
    hundred bytes, if that says so.

    Raises:
        ValueError: a sequence is longer than the file, or a part of the index lies outside.
        OSError: the file cannot be read.
    """
    size = file.stat().st_size
    with file.open("rb") as packed:
        order: Literal["little", "big"] = "little"
        if _number(packed, order) != _SIGNATURE:
            order = "big"
        packed.seek(8)
        count = _number(packed, order)
        packed.seek(16)
        for _ in range(count):  # ends with the file, whatever the number
            name = packed.read(int.from_bytes(packed.read(1)))
            start, back = _number(packed, order), packed.tell()
            packed.seek(start)
            bases = _number(packed, order)
            for _ in range(2):  # of unknown bases, of lower-case ones: places and lengths
                packed.seek(8 * _number(packed, order), os.SEEK_CUR)
            needed = packed.tell() + 4 + (bases + 3) // 4
            if needed > size:
                raise ValueError(
                    f"cut off or damaged: sequence {name.decode(errors='replace')!r} promises "
                    f"{bases:,} bases, which end at byte {needed:,}, and the file has {size:,}"
                )
            packed.seek(back)


def _number(packed: IO[bytes], order: Literal["little", "big"]) -> int:
    content = packed.read(4)
    if len(content) < 4:
        raise ValueError("cut off: a number of its index lies outside the file")
    return int.from_bytes(content, order)
