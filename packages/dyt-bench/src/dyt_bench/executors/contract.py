"""The contract of an executor: where jobs run, and what is heard of them.

The harness gives a job to ``run`` and iterates over what comes back::

    with executor.run(job, log, limits) as running:
        for event in running:
            ...

One job runs at a time, in a process of its own; what it breaks must end with it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

Event = dict[str, Any]
Job = Callable[[Callable[[Event], None]], Any]  # takes a way to tell news, returns its outcome


class JobFailed(Exception):
    """The job raised, or its process died; the message is one sentence."""


class JobStopped(JobFailed):
    """The job ended early because it was told to, with SIGTERM, and can be gone on with.

    Raised by a job, and then by whoever iterates over its news.
    """


class Preempted(KeyboardInterrupt):
    """SIGTERM: the machine is wanted elsewhere. What can be saved is worth more time."""


def preempt(number: int, frame: FrameType | None) -> None:
    """A handler for SIGTERM in the process that plans."""
    raise Preempted


@dataclass(frozen=True)
class Limits:
    """What one process may use; None: all there is."""

    seconds: float | None = None
    memory: int | None = None  # bytes resident; the libraries' own are some 500 MiB of them


NO_LIMITS = Limits()


class Running(Protocol):
    """A job in its process."""

    def __iter__(self) -> Iterator[Event]:
        """The job's news as they come.

        The last event is ``{"event": "outcome", "value": what the job returned}``.

        Raises:
            JobFailed: the job raised, went over a limit, or ended without an outcome.
            JobStopped: it was told to end early, by someone else.
            CannotWrite: the job could not write its record.
        """


class Executor(Protocol):
    """Made once a run, as ``executor(preload)``: names of modules that its jobs will import."""

    def __init__(self, preload: Sequence[str]) -> None: ...

    def run(
        self, job: Job, log: Path, limits: Limits = NO_LIMITS
    ) -> AbstractContextManager[Running]:
        """Run a picklable job, once the returned context is entered; then iterate over it.

        What the process prints goes to ``log``, an exception's traceback too. Leaving the context
        ends the process if it still runs: with SIGTERM first, as training then keeps a
        checkpoint, and by force a while later; the while is longer when the context is left by
        `Preempted`.
        """
