"""The contract of an executor: where jobs run, and which events they send.

The harness passes a job to ``run`` and iterates over its events::

    with executor.run(job, log, limits) as running:
        for event in running:
            ...

Each job runs in a process of its own, so that a crash ends no other. It may start processes, which
end with it. How many run at a time an executor says by ``slots``, if it has that method; without it
one runs at a time, or as many as the user asks for.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NewType, Protocol

# Options of an executor that a suite gives as "8GiB" and "2h".
Bytes = NewType("Bytes", int)
Seconds = NewType("Seconds", float)

Event = dict[str, Any]
Job = Callable[
    [Callable[[Event], None]], Any
]  # takes a function that sends events, returns its outcome


class JobFailed(Exception):
    """The job raised, or its process died; the message is one sentence."""


class JobStopped(JobFailed):
    """SIGTERM ended the job early; it can be resumed.

    Raised by a job, and then by the iteration over its events.
    """


class Preempted(KeyboardInterrupt):
    """SIGTERM: the scheduler takes the machine back. Jobs get more time to save their state."""


class BudgetSpent(Preempted):
    """The time that the user gave is over."""


def preempt(number: int, frame: FrameType | None) -> None:
    """A handler for SIGTERM in the process that schedules the jobs."""
    raise Preempted


@dataclass(frozen=True)
class Limits:
    """What one process may use; None: no limit."""

    seconds: float | None = None
    # bytes resident, of all that the process starts too; the libraries take some 500 MiB
    memory: int | None = None


NO_LIMITS = Limits()


class Running(Protocol):
    """A job in its process.

    It may have ``stop(error)`` and ``kill()``, for other threads: the iteration then raises
    ``error`` within a moment; the process ends at once. Without them a job is told to end at its
    next event.
    """

    def __iter__(self) -> Iterator[Event]:
        """The job's events as they arrive.

        The last event is ``{"event": "outcome", "value": what the job returned}``. An executor may
        send ``{"event": "quiet", "seconds": how long none came, "alive": whether the job's
        interpreter works}``.

        Raises:
            JobFailed: the job raised, went over a limit, or ended without an outcome.
            JobStopped: a SIGTERM from outside ended it early.
            CannotWrite: the job could not write its record.
        """


class Executor(Protocol):
    """Made once for a suite, as ``executor(preload)``: names of modules that its jobs import.

    Its keyword arguments are the options that a suite may give, of the types that they are
    annotated with: text, numbers, flags, `Bytes`, `Seconds`, and mappings of them.

    It may have a method ``slots(jobs, threads)``: what the jobs that run at a time own, a
    `dyt_bench.executors.slots.Slot` each. The arguments are what the user asks for, or None.
    ``run`` is called, and its context entered and left, in one thread a job.

    An option ``nodes`` says on how many machines each job is started. Every one needs NODE_RANK,
    from 0, and MASTER_ADDR and MASTER_PORT of the first in its environment, and the workspace's
    file system; the job's events are those of the first.
    """

    def __init__(self, preload: Sequence[str]) -> None: ...

    def run(
        self, job: Job, log: Path, limits: Limits = NO_LIMITS
    ) -> AbstractContextManager[Running]:
        """Run a picklable job, once the returned context is entered; then iterate over it.

        The process's output goes to ``log``, tracebacks included. Leaving the context ends the
        process if it still runs: with SIGTERM, upon which training keeps a checkpoint, and by
        force after a grace period, which is longer when `Preempted` leaves the context.
        """
