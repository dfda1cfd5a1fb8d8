"""What training returns, and where it writes as it goes. No torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

CHECKPOINT_EVERY_S = 30.0  # a killed run loses at most this much training

Status = Literal["finished", "diverged", "failed"]
Emit = Callable[[dict[str, Any]], None]  # takes an event: {"event": "row", ...}


class Stopped(Exception):
    """Training ended early because it was told to, and can be resumed from its checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How training ended, and all that is known only at the end."""

    status: Status
    reason: str = ""  # why, when not finished: one sentence
    # metric -> value over the run's validations
    first: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)  # at the validation with the best metric
    last: dict[str, float] = field(default_factory=dict)  # at the end of the budget
    # what was measured of the run as a whole: "time/step_ms", "memory/peak_mib", ...
    summary: dict[str, float] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)  # digests, device, threads, binding
    alpha: dict[str, float] = field(default_factory=dict)  # layer -> alpha at the end
    saturation: dict[str, float] = field(default_factory=dict)  # layer -> share of its inputs
    notices: list[str] = field(default_factory=list)  # what was not taken as it is of the data


class Recorder(Protocol):
    """Where training writes: rows one by one, and files by their paths."""

    @property
    def appended(self) -> int:
        """Rows so far, those from before an interruption included."""

    @property
    def checkpoint_path(self) -> Path: ...

    @property
    def weights_path(self) -> Path: ...

    @property
    def artifacts(self) -> Path:
        """A folder for pictures, which may be missing."""

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add a row; raises CannotWrite."""

    def flush(self) -> None:
        """Have the rows on the disk."""

    def resume(self, appended: int) -> bool:
        """Let the next row be number ``appended``; False if there are not that many."""

    def rows(self) -> list[dict[str, float]]:
        """Every row so far."""
