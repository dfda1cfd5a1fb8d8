"""Run jobs on this machine, each in a process of its own.

Processes come from a fork server that has imported the heavy libraries once, so that a job
starts at once, and leaks, threads and crashes in C libraries end with its process.
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
from dyt_bench.executors.group import end_with_all
from dyt_bench.executors.orphans import end_with_fork_server
from dyt_bench.executors.running import JobProcess, serve
from dyt_bench.executors.slots import Slot, local_slots
from dyt_bench.executors.sockets import short_paths

PRELOAD = "DYT_BENCH_PRELOAD"  # the environment variable that tells the fork server what to import

# The environment that the fork server starts with is this process's own: one thread changes it.
_starting = threading.Lock()
_STARTS = 15  # attempts; they take ten seconds in all


class LocalExecutor:
    """Starts processes with the modules of ``preload`` imported."""

    def __init__(self, preload: Sequence[str]) -> None:
        self.preload = preload
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["dyt_bench.executors.preload"])

    def slots(self, jobs: int | None, threads: int | None) -> Sequence[Slot]:
        """See `dyt_bench.executors.contract.Executor`."""
        return local_slots(jobs, threads)

    def run(self, job: Job, log: Path, limits: Limits = NO_LIMITS) -> JobProcess:
        """See `dyt_bench.executors.contract.Executor`."""
        return JobProcess(partial(self._start, job, log), log, limits)

    def _start(self, job: Job, log: Path) -> Any:
        """Start a process for the job; returns it and a connection for its events."""
        short_paths()
        receive, send = self._context.Pipe(duplex=False)
        # As bytes: a job that cannot be unpickled then fails in the process, which keeps a log.
        arguments = (pickle.dumps(job), send, log)
        for attempt in range(_STARTS):
            environment = {PRELOAD: " ".join(self.preload), **memory.environment()}
            # Not daemonic: a daemonic process may not start others, and loaders have workers.
            process = self._context.Process(target=_serve, args=arguments)
            try:
                with _starting, _in_environment(environment):  # the fork server's, if it starts now
                    process.start()
                break
            except (EOFError, OSError):
                if attempt == _STARTS - 1:
                    raise
                # The fork server itself died: a module crashes the interpreter that imports it.
                self.preload = ()
                time.sleep(0.1 * attempt)  # until multiprocessing notices that it is dead
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
    """The main function of the process."""
    end_with_fork_server()
    short_paths()
    os.setpgid(0, 0)  # so that everything it starts can be ended with it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # What the job starts begins as in any script: by a fork on Linux, where workers then share the
    # data and need not import the libraries. A fork server's process would ask for another one.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    serve(job, send, log)


def _end_with_parent() -> None:
    """End a job whose parent was killed: another process may start the same run again."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        end_with_all()
