"""What SLURM runs: a job in a process of its own, which keeps a checkpoint when SLURM ends it."""

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dyt_bench.executors.command import CommandExecutor
from dyt_bench.executors.contract import BudgetSpent, Event, Job, JobFailed, JobStopped, Limits
from dyt_bench.executors.node import LATEST_S
from dyt_bench.executors.spool import Writer

_PORTS = 20_000  # the first that is taken, and how many


class SlurmJob:
    """A job whose events go to a file beside its log.

    submitit calls it, and `checkpoint` when USR2 says that the time is over or the node is wanted
    for another job; it then asks SLURM to run the same again. Where SLURM itself runs it again,
    nobody asks: training resumes from its checkpoint either way.
    """

    def __init__(self, job: Job, log: Path, events: Path, limits: Limits) -> None:
        self.job, self.log, self.events, self.limits = job, log, events, limits

    def __call__(self) -> None:
        os.environ.update(meeting(os.environ))
        self._is_first = int(os.environ.get("NODE_RANK", "0")) == 0
        log = self.log
        if not self._is_first:
            log = log.with_name(f"{log.name}.node{os.environ['NODE_RANK']}")
        self._running = CommandExecutor([]).run(self.job, log, self.limits)
        # Signals come to the main thread, which must be free to obey them.
        thread = self._thread = threading.Thread(target=self._work, daemon=True)
        thread.start()
        thread.join()

    def checkpoint(self) -> Any:
        """End the job, with time to keep a checkpoint; what submitit has SLURM run again."""
        from submitit.helpers import DelayedSubmission

        self._running.stop(BudgetSpent())
        self._thread.join(LATEST_S)
        return DelayedSubmission(SlurmJob(self.job, self.log, self.events, self.limits))

    def _work(self) -> None:
        # One file, which the first node writes.
        write: Callable[[Event], None] = Writer(self.events) if self._is_first else _unsaid
        last: Event | None = None
        try:
            with self._running as running:
                for event in running:
                    if event["event"] == "outcome":
                        last = event  # told once the process has ended
                    else:
                        write(event)
        except (BudgetSpent, JobStopped):  # SLURM runs it again, or says that it was cancelled
            return
        except (JobFailed, OSError, ValueError) as error:
            last = {"event": "error", "error": error}
        if last is not None:
            with contextlib.suppress(OSError):
                write(last)


def _unsaid(event: Event) -> None:
    pass


def meeting(environment: Mapping[str, str]) -> dict[str, str]:
    """What the processes of several nodes need to find each other, by SLURM's own variables.

    The port follows from the job's number, which no other job on a node has.
    """
    if int(environment.get("SLURM_JOB_NUM_NODES", "1")) == 1:
        return {}
    from submitit import JobEnvironment

    return {
        "NODE_RANK": environment["SLURM_NODEID"],
        "MASTER_ADDR": JobEnvironment().hostnames[0],
        "MASTER_PORT": str(_PORTS + int(environment["SLURM_JOB_ID"]) % _PORTS),
    }
