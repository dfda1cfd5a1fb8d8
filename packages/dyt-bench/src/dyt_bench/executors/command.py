"""Run each job in a Python process that a command starts: ``nice -n 19``, ``srun --gpus=1``.

The process reads the job from standard input and sends its events to standard output. A command
that forwards both may start it on another machine, if that has this environment and the
workspace's file system; the command itself must not print to standard output. Every job imports
the libraries again.
"""

import contextlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar

from dyt_bench.errors import CannotWrite, UserError, quoted
from dyt_bench.executors import memory
from dyt_bench.executors.contract import NO_LIMITS, Job, Limits
from dyt_bench.executors.group import end_with_all
from dyt_bench.executors.running import JobProcess, serve
from dyt_bench.executors.sockets import short_paths

_STOP = b"stop"  # the parent's message for SIGTERM, which not every command forwards


class CommandExecutor:
    """Subclass it and set ``prefix``: the command that starts the process, which follows it.

    Limits of memory apply to the command's own process, not to one on another machine.

    Raises:
        UserError: there is no such command.
    """

    prefix: ClassVar[Sequence[str]] = ()

    def __init__(self, preload: Sequence[str]) -> None:
        if self.prefix and shutil.which(self.prefix[0]) is None:
            raise UserError(
                f"the executor {type(self).__name__} needs the command {quoted(self.prefix[0])}, "
                "which is not on this machine: install it, or choose another executor"
            )

    def run(self, job: Job, log: Path, limits: Limits = NO_LIMITS) -> JobProcess:
        """See `dyt_bench.executors.contract.Executor`."""
        return JobProcess(partial(self._start, job, log), log, limits)

    def _start(self, job: Job, log: Path) -> Any:
        command = [*self.prefix, sys.executable, "-m", "dyt_bench.executors.command"]
        try:
            file = log.open("ab")  # for the command's own messages
        except OSError as error:
            raise CannotWrite(log, error) from error
        with file:
            process = _Child(command, file)
        with contextlib.suppress(OSError):  # it has ended already; its exit status says why
            process.tell.send_bytes(pickle.dumps((sys.path, log.absolute())))
            process.tell.send_bytes(pickle.dumps(job))
        return process, process.events


class _Child:
    """A `dyt_bench.executors.running.Process` made of a subprocess."""

    def __init__(self, command: Sequence[str], log: Any) -> None:
        self._popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **memory.environment()},
            bufsize=0,
            start_new_session=True,  # so that everything it starts can be ended with it
        )
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        # The connections close the pipes' ends, which the Popen then must not.
        self.tell = Connection(os.dup(self._popen.stdin.fileno()), readable=False)
        self.events = Connection(os.dup(self._popen.stdout.fileno()), writable=False)
        self._popen.stdin.close()
        self._popen.stdout.close()
        self.sentinel, ended = os.pipe()
        threading.Thread(target=self._wait, args=(ended,), daemon=True).start()

    def _wait(self, ended: int) -> None:
        self._popen.wait()
        os.close(ended)

    def __del__(self) -> None:
        os.close(self.sentinel)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def exitcode(self) -> int | None:
        return self._popen.returncode

    def is_alive(self) -> bool:
        return self._popen.poll() is None

    def join(self, timeout: float | None = None) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout)

    def terminate(self) -> None:
        try:
            self.tell.send_bytes(_STOP)
        except OSError:  # it has closed its end
            self._popen.terminate()

    def kill(self) -> None:
        self._popen.kill()


def _obey(orders: "Connection[Any, Any]") -> None:
    """Obey the parent's messages; end if the parent was killed."""
    try:
        while orders.recv_bytes() == _STOP:
            os.kill(os.getpid(), signal.SIGTERM)
    except EOFError:
        end_with_all()


def main() -> None:
    """The main function of the process."""
    short_paths()
    orders = Connection(os.dup(0), writable=False)
    events = Connection(os.dup(1), readable=False)
    path, log = pickle.loads(orders.recv_bytes())
    sys.path[:] = path
    job = orders.recv_bytes()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_obey, args=(orders,), daemon=True).start()
    serve(job, events, log)


if __name__ == "__main__":
    main()
