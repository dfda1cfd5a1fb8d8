"""Run jobs one after another, each in a process of its own, on this machine.

Processes come from a fork server that has imported the heavy libraries once, so that a job
starts at once and what it breaks (memory, threads, a crash in a C library) ends with it.
"""

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from dyt_bench.executors import memory
from dyt_bench.executors.contract import NO_LIMITS, Job, Limits
from dyt_bench.executors.running import Running, serve

PRELOAD = "DYT_BENCH_PRELOAD"  # the environment variable that tells the fork server what to import

_STARTS = 15  # attempts; they take ten seconds in all


class LocalExecutor:
    """Starts processes with the modules of ``preload`` imported."""

    def __init__(self, preload: Sequence[str]) -> None:
        self.preload = preload
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["dyt_bench.executors.preload"])

    def run(self, job: Job, log: Path, limits: Limits = NO_LIMITS) -> Running:
        """See `dyt_bench.executors.contract.Executor`."""
        return Running(partial(self._start, job, log), log, limits)

    def _start(self, job: Job, log: Path) -> Any:
        """A started process that serves the job, and where to hear of it."""
        receive, send = self._context.Pipe(duplex=False)
        # As bytes: a job that cannot be unpickled is to fail where its output is kept.
        arguments = (pickle.dumps(job), send, log)
        for attempt in range(_STARTS):
            environment = {PRELOAD: " ".join(self.preload), **memory.environment()}
            process = self._context.Process(target=_serve, args=arguments, daemon=True)
            try:
                with _in_environment(environment):  # the fork server's, if it starts now
                    process.start()
                break
            except (EOFError, OSError):
                if attempt == _STARTS - 1:
                    raise
                # The fork server itself died: a module crashes the interpreter that imports it.
                self.preload = ()
                time.sleep(0.1 * attempt)  # until the dead one is known to be dead
        send.close()
        return process, receive


@contextmanager
def _in_environment(added: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(job: bytes, send: Any, log: Path) -> None:
    """The process's whole life."""
    os.setpgid(0, 0)  # so that what it starts can be ended with it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    serve(job, send, log)


def _end_with_parent() -> None:
    """A job whose parent was killed has nobody to report to; another run may want its record."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
