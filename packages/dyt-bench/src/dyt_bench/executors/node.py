"""A job on another machine, in a process of its own: its events and its files, as they come."""

import contextlib
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dyt_bench.executors.carry import Outbox, Unpacked, land
from dyt_bench.executors.command import CommandExecutor
from dyt_bench.executors.contract import Event, JobFailed, JobStopped, Limits, Preempted

_GATHER_S = 0.2  # after the first event, for others that come with it
_SAME = ("dyt-core", "dyt-bench", "torch", "numpy", "lightning")  # versions that decide results
LATEST_S = 35.0  # for a job that is told to end, and to keep a checkpoint


def versions() -> dict[str, str]:
    """Of the packages that decide a run's numbers."""
    return {name: found for name in _SAME if (found := _version(name))}


class Node:
    """One job. Its files lie in a temporary folder of this machine while it runs.

    Args:
        job: packed by `dyt_bench.executors.carry.pack`.
        log: name of its log in the folder.
        files: what the folder holds at first, as events.
        expected: `versions` of the machine that plans.
    """

    def __init__(
        self,
        job: bytes,
        log: str,
        files: Sequence[Event],
        limits: Limits,
        expected: Mapping[str, str],
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="dyt-bench-"))
        for file in files:
            land(file, self._folder)
        self._outbox = Outbox(self._folder)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._running = CommandExecutor([]).run(
            Unpacked(job, self._folder), self._folder / log, limits
        )
        work = threading.Thread(target=self._work, args=(expected,), daemon=True)
        self._thread = work
        work.start()

    def poll(self, patience_s: float) -> list[Event]:
        """The files' changes and the events since the last call, which waits for the first one.

        What an event tells of is in the files that come with it. The last event is the outcome, or
        ``{"event": "error", "error": what to raise}``.
        """
        events = []
        with contextlib.suppress(queue.Empty):
            events.append(self._events.get(timeout=patience_s))
            time.sleep(_GATHER_S)
            while True:
                events.append(self._events.get_nowait())
        return [*self._outbox.collect(), *events]

    def stop(self) -> None:
        """End the job, with time to keep a checkpoint; `poll` once more for it."""
        self._running.stop(Preempted())
        self._thread.join(LATEST_S)

    def close(self) -> None:
        """Remove the job's files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _work(self, expected: Mapping[str, str]) -> None:
        try:
            _check(expected)
            with self._running as running:
                for event in running:
                    if event["event"] == "outcome":
                        last = event  # told once the process has ended
                    else:
                        self._events.put(event)
            self._events.put(last)
        except BaseException as error:
            known = isinstance(error, JobFailed | OSError | ValueError)
            told = error if known else JobStopped(f"{type(error).__name__}: {error}")
            self._events.put({"event": "error", "error": told})


def _check(expected: Mapping[str, str]) -> None:
    """Raise JobFailed where another version would compute other numbers."""
    here = versions()
    for name, wanted in expected.items():
        if here.get(name) != wanted:
            raise JobFailed(
                f"its machine has {name} {here.get(name, 'not')} installed, the one that plans "
                f"{wanted}: install the same environment on both"
            )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
