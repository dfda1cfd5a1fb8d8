"""Several jobs at once: each is followed by a thread, and one queue brings their events."""

import queue
import threading
from collections.abc import Hashable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from dyt_bench.executors.contract import Event, Executor, Job, JobFailed, Limits
from dyt_bench.executors.slots import Slot, in_slot, joined

K = TypeVar("K", bound=Hashable)


class Slots(Generic[K]):
    """Runs at most as many jobs at a time as there are slots. A context manager.

    Leaving it by an exception ends the jobs that run, each as leaving its own context would: with
    time to save its state, more of it for `dyt_bench.executors.contract.Preempted`. A second
    exception meanwhile, such as another Ctrl-C, kills them.
    """

    def __init__(self, executor: Executor, slots: Sequence[Slot], most: int | None = None) -> None:
        self._executor = executor
        self._most = len(slots) if most is None else most  # jobs at a time
        self._free = list(slots)
        self._busy: dict[K, list[Slot]] = {}
        self._running: dict[K, Any] = {}  # what can be told to stop
        self._threads: dict[K, threading.Thread] = {}
        self._events: queue.SimpleQueue[tuple[K, Event | BaseException]] = queue.SimpleQueue()
        self._ending: BaseException | None = None

    def is_free(self, count: int = 1) -> bool:
        """Whether another job may start, which takes so many slots."""
        return len(self._free) >= count and len(self._busy) < self._most

    @property
    def is_busy(self) -> bool:
        """Whether a job runs."""
        return bool(self._busy)

    def start(self, key: K, job: Job, log: Path, limits: Limits, count: int = 1) -> None:
        """Start a job in free slots; its events come from `next_event`, under ``key``."""
        taken, self._free = self._free[:count], self._free[count:]
        self._busy[key], slot = taken, joined(taken)
        arguments = (key, partial(in_slot, slot, job), log, limits)
        # A daemon: the process may end while it waits for a job that does not.
        thread = threading.Thread(target=self._follow, args=arguments, daemon=True)
        self._threads[key] = thread
        thread.start()

    def next_event(self) -> tuple[K, Event | JobFailed]:
        """The next event of any job; a failure or an outcome is a job's last and frees its slot.

        Raises:
            Exception: what a job's iteration raised beside JobFailed: CannotWrite.
        """
        key, event = self._events.get()
        if isinstance(event, BaseException) or event["event"] == "outcome":
            self._threads.pop(key).join()
            self._running.pop(key, None)
            self._free = [*self._busy.pop(key), *self._free]
        if isinstance(event, BaseException) and not isinstance(event, JobFailed):
            raise event
        return key, event

    def _follow(self, key: K, job: Job, log: Path, limits: Limits) -> None:
        last: Event | BaseException | None = None
        try:
            with self._executor.run(job, log, limits) as running:
                self._running[key] = running
                self._obey()
                for event in running:
                    self._obey()
                    if event["event"] == "outcome":
                        last = event  # reported once the process has ended
                    else:
                        self._events.put((key, event))
        except BaseException as error:
            last = error
        if last is None:
            last = JobFailed("it ended without an outcome")
        self._events.put((key, last))

    def _obey(self) -> None:
        """End this thread's job if the others' end was asked for."""
        if self._ending is not None:
            raise self._ending

    def __enter__(self) -> "Slots[K]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            return
        self._ending = error
        try:
            for running in list(self._running.values()):
                # Executors that lack it end a job at its next event.
                if (stop := getattr(running, "stop", None)) is not None:
                    stop(error)
            for thread in self._threads.values():
                thread.join()
        except BaseException:
            for running in list(self._running.values()):
                if (kill := getattr(running, "kill", None)) is not None:
                    kill()
            raise
