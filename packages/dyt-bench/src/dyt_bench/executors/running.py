"""A job in a process that any executor started: its events, limits and end."""

import contextlib
import faulthandler
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, cast

from dyt_bench.errors import CannotWrite
from dyt_bench.executors.contract import Event, JobFailed, JobStopped, Limits, Preempted
from dyt_bench.executors.group import Group

_POLL_S = 0.25  # how often limits are checked
_BEAT_S = 5.0  # between two heartbeats of a job
_QUIET_S = 60.0  # without an event, after which the caller is told, and how often
_STOP_S = 3.0  # grace period after SIGTERM
_PREEMPTED_S = 25.0  # the same when a scheduler takes the machine back; most kill after 30 s
_DUMP_S = 2.0  # time for a hanging process to print its traceback


class Process(Protocol):
    """A process as `JobProcess` uses it; `multiprocessing.Process` is one."""

    @property
    def pid(self) -> int | None:
        """Also the id of the process group of everything that it starts."""

    @property
    def sentinel(self) -> int:
        """A file descriptor that is ready for reading once the process has ended."""

    @property
    def exitcode(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""

    def is_alive(self) -> bool: ...
    def join(self, timeout: float | None = None) -> None: ...
    def terminate(self) -> None:
        """Send the job SIGTERM."""

    def kill(self) -> None: ...


Start = Callable[[], tuple[Process, "Connection[Any, Any]"]]


class JobProcess:
    """A job in its process: the `dyt_bench.executors.contract.Running` of our executors.

    Leaving the context ends the process if it still runs: with SIGTERM, and by SIGKILL after a
    grace period, which is longer when `Preempted` leaves the context.
    """

    def __init__(self, start: Start, log: Path, limits: Limits) -> None:
        self.start, self.log, self.limits = start, log, limits
        self.peak = 0  # the most bytes resident that were seen, of all its processes
        self._stopping: BaseException | None = None

    def __enter__(self) -> "JobProcess":
        self._process, self._receive = self.start()
        self._group = Group(cast(int, self._process.pid))
        self._started = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        preempted = kind is not None and issubclass(kind, Preempted)
        try:
            self._end(_PREEMPTED_S if preempted else _STOP_S)
        finally:  # impatient people press Ctrl-C twice
            self._kill()
            self._receive.close()

    def __iter__(self) -> Iterator[Event]:
        """The job's events as they arrive.

        The last event is ``{"event": "outcome", "value": what the job returned}``. While none
        come, ``{"event": "quiet", "seconds": how long, "alive": whether its interpreter works}``
        comes once a minute.

        Raises:
            JobFailed: the job raised, went over a limit, or ended without an outcome.
            JobStopped: a SIGTERM from outside ended it early.
            CannotWrite: the job could not write its record.
        """
        heard = beaten = told = time.monotonic()
        while True:
            if self._stopping is not None:
                raise self._stopping
            ready = wait([self._receive, self._process.sentinel], _POLL_S)
            for event in self._events():
                beaten = time.monotonic()
                if event["event"] == "beat":
                    continue
                heard = told = beaten
                if event["event"] == "error":
                    raise event["error"]
                yield event
                if event["event"] == "outcome":
                    self._process.join(_STOP_S)
                    return
            if self._process.sentinel in ready:
                self._process.join()
                raise self._failed(self._death())
            self._check_limits()
            if (now := time.monotonic()) - told >= _QUIET_S:
                told = now
                alive = now - beaten < 4 * _BEAT_S
                yield {"event": "quiet", "seconds": now - heard, "alive": alive}

    def stop(self, error: BaseException) -> None:
        """Make the iteration raise ``error`` within a moment; called by another thread."""
        self._stopping = error

    def kill(self) -> None:
        """Kill the process and everything that it started; called by another thread."""
        self._group.kill()

    def _events(self) -> Iterator[Event]:
        """The events that have arrived; half a message of a killed process is dropped."""
        with contextlib.suppress(EOFError, OSError):
            while self._receive.poll():
                yield self._receive.recv()

    def _check_limits(self) -> None:
        """Kill the process if it exceeds a limit; raises JobFailed."""
        seconds = time.monotonic() - self._started
        self.peak = max(self.peak, self._group.memory(self.limits.memory))
        if self.limits.memory is not None and self.peak > self.limits.memory:
            self._kill()
            used, limit = _gib(self.peak), _gib(self.limits.memory)
            raise self._failed(f"{self._who()} used {used} of memory, over its limit of {limit}")
        if self.limits.seconds is not None and seconds > self.limits.seconds:
            self._end(_STOP_S)
            raise self._failed(f"it ran longer than its limit of {self.limits.seconds:g} s")

    def _end(self, patience_s: float) -> None:
        """Send SIGTERM, wait, and kill the process if it still runs."""
        if self._process.is_alive():
            self._group.look()  # whose parent has ended is not found any more
            self._process.terminate()
        deadline = time.monotonic() + patience_s
        while self._process.is_alive() and time.monotonic() < deadline:
            wait([self._receive, self._process.sentinel], 0.1)
            for _ in self._events():  # a full pipe would block it
                pass
        if self._process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(
                    cast(int, self._process.pid), signal.SIGABRT
                )  # faulthandler prints where it hangs
            self._process.join(_DUMP_S)
        self._kill()

    def _kill(self) -> None:
        """Kill the process and everything that it started."""
        self._group.kill()
        if self._process.is_alive():
            self._process.kill()
        self._process.join()

    def _failed(self, reason: str) -> JobFailed:
        """The failure; its reason is added to the log, as the process may have been unable to."""
        with contextlib.suppress(OSError), self.log.open("a") as log:
            log.write(f"dyt-bench: {reason}\n")
        return JobFailed(reason)

    def _who(self) -> str:
        """``it``, and how many processes that it started."""
        started = len(self._group.members) - 1
        processes = "process" if started == 1 else "processes"
        return f"it, with the {started} {processes} that it started," if started > 0 else "it"

    def _death(self) -> str:
        code = self._process.exitcode
        if code is None or code >= 0:
            return f"its process ended with exit status {code}, without a result"
        name = signal.Signals(-code).name
        hint = ""
        if name == "SIGKILL":
            hint = f" when {self._who()} held {_gib(self.peak)}; the machine may be out of memory"
        return f"its process was ended by {name}{hint}"


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"


def serve(job: bytes, send: "Connection[Any, Any]", log: Path) -> None:
    """Do a pickled job in this process and ``send`` its events, its outcome or its error."""
    sending, ended = threading.Lock(), threading.Event()

    def tell(event: Event) -> None:
        with sending:
            send.send(event)

    def beat() -> None:
        with contextlib.suppress(OSError):  # nobody listens any more
            while not ended.wait(_BEAT_S):
                tell({"event": "beat"})

    try:
        _keep_output(log)
        threading.Thread(target=beat, name="heartbeat", daemon=True).start()
        outcome = pickle.loads(job)(tell)
        tell({"event": "outcome", "value": outcome})
    except JobStopped as stopped:
        tell({"event": "error", "error": stopped})
    except BaseException as error:  # sys.exit in a plug-in included: the parent must learn of it
        with contextlib.suppress(OSError):  # the disk may be full
            traceback.print_exc()
            sys.stderr.flush()
        known = isinstance(error, CannotWrite)
        failure = error if known else JobFailed(f"{type(error).__name__}: {error}")
        tell({"event": "error", "error": failure})
    finally:
        ended.set()


def _keep_output(log: Path) -> None:
    """Send this process's output, and the traceback of a crash, to ``log``."""
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise CannotWrite(log, error) from error
    for stream in (sys.stdout, sys.stderr):
        os.dup2(file, stream.fileno())
        cast("IO[str]", stream).reconfigure(line_buffering=True)  # type: ignore[attr-defined]
    os.close(file)
    faulthandler.enable(2)
