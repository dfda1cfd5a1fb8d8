"""A job's process and all that it started: loader workers, and whatever a plug-in runs."""

import contextlib
import os
import signal
import time

import psutil

_LOOK_EVERY_S = 1.0  # between two searches for new processes, each of which takes milliseconds


class Group:
    """The process ``pid``, which leads a process group, and its descendants."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.members: list[psutil.Process] = []  # the process itself first
        with contextlib.suppress(psutil.Error):
            self.members.append(psutil.Process(pid))
        self._looked = -_LOOK_EVERY_S

    def look(self) -> None:
        """Find the processes; those whose parent has ended since are kept."""
        self._looked = time.monotonic()
        if not self.members:  # it had ended before it was found
            return
        leader, *others = self.members
        with contextlib.suppress(psutil.Error):
            found = leader.children(recursive=True)  # not of another process with its number
            self.members = list(dict.fromkeys([leader, *found, *filter(_runs, others)]))

    def memory(self, limit: int | None) -> int:
        """Bytes resident. What processes share counts in each, unless that exceeds the limit."""
        if time.monotonic() - self._looked >= _LOOK_EVERY_S:
            self.look()
        held = sum(map(_resident, self.members))
        if limit is None or held <= limit or len(self.members) < 2:
            return held
        self.look()
        # Exact, but it takes a process's lock, on which its page faults wait.
        return sum(map(_proportional, self.members))

    def kill(self) -> None:
        """Kill all of them, and what else is in the process group."""
        self.look()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        for process in self.members:
            with contextlib.suppress(psutil.Error):
                process.kill()


def end_with_all() -> None:
    """Kill this process and all that it started: whoever waited for them is gone."""
    group = Group(os.getpid())
    group.look()
    for process in group.members[1:]:
        with contextlib.suppress(psutil.Error):
            process.kill()
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _runs(process: psutil.Process) -> bool:
    return bool(process.is_running())  # False of another process with the same number


def _resident(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def _proportional(process: psutil.Process) -> int:
    """Bytes resident, of shared ones the process's part; macOS tells its own ones alone."""
    with contextlib.suppress(psutil.Error):
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.uss))
    return 0
