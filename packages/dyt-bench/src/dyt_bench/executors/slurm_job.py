"""What SLURM runs: a job in a process of its own, which keeps a checkpoint when SLURM ends it."""

import contextlib
import threading
from pathlib import Path
from typing import Any

from dyt_bench.executors.command import CommandExecutor
from dyt_bench.executors.contract import BudgetSpent, Event, Job, JobFailed, JobStopped, Limits
from dyt_bench.executors.node import LATEST_S
from dyt_bench.executors.spool import Writer


class SlurmJob:
    """A job whose events go to a file beside its log.

    submitit calls it, and `checkpoint` when USR2 says that the time is over or the node is wanted
    for another job; it then asks SLURM to run the same again. Where SLURM itself runs it again,
    nobody asks: training resumes from its checkpoint either way.
    """

    def __init__(self, job: Job, log: Path, events: Path, limits: Limits) -> None:
        self.job, self.log, self.events, self.limits = job, log, events, limits

    def __call__(self) -> None:
        self._running = CommandExecutor([]).run(self.job, self.log, self.limits)
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
        write = Writer(self.events)
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
