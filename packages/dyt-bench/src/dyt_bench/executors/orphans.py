"""Jobs do not outlive the process that schedules them, even where their interpreter is stuck.

A healthy job waits for that process in a thread, and ends with all that it started. A thread needs
the interpreter, which a call into C may hold for ever: then the kernel tells the fork server, which
is never stuck, and that kills the job and what it started. Where the fork server itself is killed,
the kernel kills the jobs. On Linux alone.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from types import FrameType

import psutil

from dyt_bench.executors.group import Group

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
_TOLD = signal.SIGUSR2  # what the kernel sends the fork server; nobody else uses it there
_GRACE_S = 2.0  # for jobs to end by themselves, with all that they started


def end_with_fork_server() -> None:
    """Have the kernel kill this process, a job, when the fork server ends."""
    signal.signal(_TOLD, signal.SIG_DFL)
    _ask_kernel(signal.SIGKILL)


def end_jobs_with_parent() -> None:
    """Have this process, the fork server, end its jobs and itself when its parent ends."""
    parent = os.getppid()

    def told(number: int, frame: FrameType | None) -> None:
        # The kernel also tells it when the thread ends that started this process.
        if os.getppid() != parent:
            _end_jobs()
            os._exit(0)

    signal.signal(_TOLD, told)
    _ask_kernel(_TOLD)


def _ask_kernel(number: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def _end_jobs() -> None:
    deadline = time.monotonic() + _GRACE_S
    own = psutil.Process()
    while (jobs := _running(own)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for job in jobs:
        Group(job.pid).kill()


def _running(own: psutil.Process) -> list[psutil.Process]:
    """The children that have not ended."""
    with contextlib.suppress(psutil.Error):
        return [child for child in own.children() if child.status() != psutil.STATUS_ZOMBIE]
    return []
