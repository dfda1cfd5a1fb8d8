"""Run jobs one after another, each in a process of its own, on this machine.

Processes come from a fork server that has imported the heavy libraries once, so that a job
starts at once and what it breaks (memory, threads, a crash in a C library) ends with it.
"""

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

Event = dict[str, Any]
Job = Callable[[Callable[[Event], None]], Any]  # takes a way to tell news, returns its outcome

_STOP_S = 3.0  # how long a process may take to end when told to


class JobFailed(Exception):
    """The job raised, or its process died; the message is one sentence."""


class LocalExecutor:
    """Starts processes with ``preload`` imported; use it as a context manager."""

    def __init__(self, preload: Sequence[str]) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["dyt_bench.executors.local", *preload])

    def run(self, job: Job, log: Path, *, poll_s: float = 0.5) -> Iterator[Event | None]:
        """Run a picklable job; yields its news as they come, and None every ``poll_s`` seconds.

        The last event is ``{"event": "outcome", "value": what the job returned}``. What the
        process prints goes to ``log``, an exception's traceback too. When the caller stops
        iterating, the process is ended.

        Raises:
            JobFailed: the job raised, or the process ended without an outcome.
        """
        receive, send = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_serve, args=(job, send, log), daemon=True)
        process.start()
        send.close()
        try:
            yield from _receive(receive, poll_s)
            process.join()
            if process.exitcode:
                raise JobFailed(_death(process.exitcode))
        finally:
            receive.close()
            _end(process)


def _receive(receive: Connection, poll_s: float) -> Iterator[Event | None]:
    """Events until the process closes its end of the pipe, by dying if need be."""
    while True:
        if not receive.poll(poll_s):
            yield None
            continue
        try:
            event = receive.recv()
        except EOFError:
            return
        if event["event"] == "error":
            raise JobFailed(event["reason"])
        yield event


def _end(process: multiprocessing.process.BaseProcess) -> None:
    if process.is_alive():
        process.terminate()
        process.join(_STOP_S)
    if process.is_alive():
        process.kill()
        process.join()


def _death(exitcode: int) -> str:
    if exitcode > 0:
        return f"its process ended with exit status {exitcode}"
    name = signal.Signals(-exitcode).name
    hint = "; the machine may be out of memory" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{hint}"


def _serve(job: Job, send: Connection, log: Path) -> None:
    """The process's whole life."""
    # Ctrl-C reaches the whole process group; the parent decides what becomes of the job.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, sys.stdout.fileno())
    os.dup2(file, sys.stderr.fileno())
    try:
        send.send({"event": "outcome", "value": job(send.send)})
    except BaseException as error:  # sys.exit in a plugin included: the parent must hear of it
        traceback.print_exc()
        sys.stderr.flush()
        send.send({"event": "error", "reason": f"{type(error).__name__}: {error}"})
        raise SystemExit(1) from None
