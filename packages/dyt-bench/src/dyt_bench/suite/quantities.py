"""Durations and sizes as people write them: ``90s``, ``30m``, ``8GiB``.

Not pydantic's: its ``timedelta`` takes no ``90s``, and its ``ByteSize`` takes ``8GiB, or so``.
"""

import re

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {
    unit.lower(): base**power
    for base, units in ((1000, ("kB", "MB", "GB", "TB")), (1024, ("KiB", "MiB", "GiB", "TiB")))
    for power, unit in enumerate(units, start=1)
}


def seconds(text: str | float) -> float:
    """``"30m"`` -> 1800.0; a number without a unit is seconds.

    Raises:
        ValueError: not a positive number, with s, m, h or d or without.
    """
    return _parse(str(text), {"": 1, **_SECONDS}, "a duration such as 90s, 30m, 2h or 1d")


def size(text: str | int) -> int:
    """``"8GiB"`` -> 8589934592; a number without a unit is bytes.

    Raises:
        ValueError: not a positive number, with a unit from kB to TiB or without.
    """
    return round(_parse(str(text), {"": 1, **_BYTES}, "a size such as 800MB or 8GiB"))


def in_words(seconds: float) -> str:
    """``47 s``, ``3:20 min``, ``2:05 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole // 60 % 60:02d} h"


def _parse(text: str, units: dict[str, int], expected: str) -> float:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    if match is None or match[2] not in units or not float(match[1]):
        raise ValueError(f"expected {expected}")
    return float(match[1]) * units[match[2]]
