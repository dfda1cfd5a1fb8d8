"""How much of the processor's caches one thread can count on, as the processor reports it."""

from pathlib import Path

_LINUX = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def bytes_of_a_thread(folder: Path = _LINUX) -> int:
    """A processor's part of all caches but the first-level ones; 0 where nothing reports them.

    Of a cache that several processors share, each can count on an equal part.

    Args:
        folder: where Linux lists the caches of a processor, a folder for each.
    """
    total = 0
    for cache in folder.glob("index*"):
        try:
            level, size, shared = (
                (cache / name).read_text().strip() for name in ("level", "size", "shared_cpu_list")
            )
            if int(level) > 1:
                total += int(size[:-1]) * _UNITS[size[-1:]] // _processors(shared)
        except (OSError, ValueError, KeyError):  # a virtual machine may list some in part
            continue
    return total


def _processors(text: str) -> int:
    """How many there are in a list such as "0-3,8"."""
    ends = [part.split("-") for part in text.split(",")]
    return sum(int(end[-1]) - int(end[0]) + 1 for end in ends)
