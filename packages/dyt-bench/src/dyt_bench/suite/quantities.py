"""Durations and sizes as people write them: ``90s``, ``30m``, ``8GiB``.

Not pydantic's: its ``timedelta`` takes no ``90s``, and its ``ByteSize`` takes ``8GiB, or so``.
"""

import re
from math import isfinite

_SIZE = "a size such as 800MB or 8GiB"
MOST_COUNT = 2**63 - 1  # the largest whole number of a column in MLflow or Parquet
_MOST = 1e15  # bytes, or seconds: 1 PB, 31 million years
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
    found = round(_parse(str(text), {"": 1, **_BYTES}, _SIZE))
    if not found:
        raise ValueError(f"expected {_SIZE}")
    return found


def in_words(seconds: float) -> str:
    """``47 s``, ``3:20 min``, ``2:05 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole // 60 % 60:02d} h"


def _parse(text: str, units: dict[str, int], expected: str) -> float:
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*", text.lower())
    value = float(match[1]) * units.get(match[2], 0) if match else 0.0
    if not value or not isfinite(value):
        raise ValueError(f"expected {expected}")
    if value > _MOST:
        raise ValueError(f"expected {expected}, and no more than {_MOST:g}")
    return value
