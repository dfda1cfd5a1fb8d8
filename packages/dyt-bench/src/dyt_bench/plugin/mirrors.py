"""What a package offers to copy runs to another tracker, as the harness does to TensorBoard.

It is an entry point of the group ``dyt_bench.mirrors``, whose name is what ``--mirror`` takes::

    [project.entry-points."dyt_bench.mirrors"]
    our-tracker = "my_package:OurTracker"

The records are the truth, and a mirror has a copy. Its methods are called in a thread of their own,
one call at a time: training waits for none, and what raises is tried again from the run's start.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

__all__ = ["CopiedEnd", "CopiedRun", "MakeMirror", "OpenRun", "RunMirror"]

Status = Literal["finished", "diverged", "failed", "killed"]


@dataclass(frozen=True)
class CopiedRun:
    """A run that has begun."""

    key: str  # of it alone, the same whenever it is sent; fit for a file's name
    label: str  # for people: "vision/vit/digits dyt seed 0"
    suite: str
    group: str  # what is compared with each other: "vision/vit/digits"
    variant: str
    started: float  # seconds since the epoch
    parameters: Mapping[str, str | int | float]
    tags: Mapping[str, str]  # code, data, machine: what it depends on, and where it ran


@dataclass(frozen=True)
class CopiedEnd:
    """How a run ended."""

    status: Status  # "killed" where nothing says how, as the process is gone
    reason: str  # why, where it has not finished; one sentence
    ended: float  # seconds since the epoch
    best: Mapping[str, float]  # the validation with the best metric, with its "step"
    last: Mapping[str, float]  # that at the end, likewise
    measured: Mapping[str, float]  # once, of the run as a whole: step time, memory, ...


class OpenRun(Protocol):
    """The copy of one run, while it is sent."""

    def log(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Add rows: metrics by name, with the steps done as "step" and the epoch's seconds as
        "time".
        """

    def finish(self, end: CopiedEnd) -> None:
        """Complete the copy; nothing is sent afterwards."""


class RunMirror(Protocol):
    """What receives the runs of one suite."""

    @property
    def place(self) -> str:
        """Where to look, for people: a command or an address."""

    def begin(self, run: CopiedRun) -> OpenRun:
        """Start the copy of a run; what is there of a run with this key is replaced."""


class MakeMirror(Protocol):
    """What an entry point names: a function or class that makes a `RunMirror`."""

    def __call__(self, folder: Path, suite: str) -> RunMirror:
        """Called once, before anything runs.

        Args:
            folder: of the mirror's own in the workspace; it may not exist.
            suite: the name of the suite.

        Raises:
            UserError: the mirror cannot be used here, and how that is fixed.
        """
