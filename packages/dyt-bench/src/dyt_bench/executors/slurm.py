"""Runs as jobs of SLURM, by submitit: one job array for all that start together.

SLURM decides where and when. The nodes need this environment and the workspace's file system. Jobs
belong to SLURM, not to the command that planned them: when that ends, they continue, and the same
command finds them again.
"""

import contextlib
import getpass
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from dyt_bench.errors import UserError, listed, quoted, reason
from dyt_bench.executors.contract import (
    NO_LIMITS,
    BudgetSpent,
    Bytes,
    Event,
    Job,
    JobFailed,
    Limits,
    Seconds,
)
from dyt_bench.executors.slots import Slot
from dyt_bench.executors.slurm_job import SlurmJob
from dyt_bench.executors.spool import Reader

MOST = 1000  # jobs at a time: SLURM's own limit of an array is 1,001 by default
_LOOK_S = 0.5  # how often events are looked for
_ASK_S = 5.0  # how often SLURM is asked for the states of all jobs
_GATHER_S = 1.0  # jobs that start within are one array
_QUIET_S = 60.0  # without an event, after which the caller is told, and how often
_LATE_S = 20.0  # how much later than its end a job's last event may be seen
_ANSWER_S = 60.0
_REQUEUES = 10_000  # at time limits: a run ends at its own limits, not after a number of jobs
_SIGNAL_S = 90  # before its time is over a job is told


class SlurmExecutor:
    """Submits each job to SLURM.

    Args:
        partition, account, qos, gres: as `sbatch` takes them; by default SLURM's own.
        cpus, memory: of a run, on each of its nodes.
        nodes: of a run, which trains on all of them together if its suite has as many ``nodes``.
        time: of a job, after which it is requeued and resumes; by default the partition's.
        parallel: how many jobs of the array run at a time; 0: as many as SLURM lets.
        sbatch: other options of `sbatch`, by name.
        setup: lines of shell that each job begins with: ``module load``, ``source``.

    Raises:
        UserError: submitit or SLURM is not installed, or there is no such partition.
    """

    def __init__(
        self,
        preload: Sequence[str],
        *,
        partition: str = "",
        account: str = "",
        qos: str = "",
        gres: str = "",
        cpus: int = 1,
        memory: Bytes | None = None,
        nodes: int = 1,
        time: Seconds | None = None,
        parallel: int = 0,
        sbatch: Mapping[str, str | int] = {},
        setup: Sequence[str] = (),
    ) -> None:
        try:
            import submitit  # noqa: F401
        except ModuleNotFoundError:
            raise UserError(
                'the executor slurm needs the package submitit: pip install "dyt-bench[slurm]", '
                "or choose another executor"
            ) from None
        self.cpus, self.gres = cpus, gres
        given = {
            "partition": partition,
            "account": account,
            "qos": qos,
            "gres": gres,
            "mem": f"{memory // 2**20}M" if memory else "",
            "time": max(1, round(time / 60)) if time else 0,
            "array_parallelism": parallel or MOST,
        }
        self.parameters = {
            **{name: value for name, value in given.items() if value},
            "nodes": nodes,
            "cpus_per_task": cpus,
            "signal_delay_s": _SIGNAL_S,
            "setup": list(setup),
            "additional_parameters": dict(sbatch),
        }
        self._check(partition)
        self._submissions = _Submissions(self)
        self.states = States()

    def slots(self, jobs: int | None, threads: int | None) -> Sequence[Slot]:
        """See `dyt_bench.executors.contract.Executor`: SLURM has a queue of its own."""
        own = None if self.gres else self.cpus
        return [Slot(threads or own)] * (jobs or MOST)

    def run(self, job: Job, log: Path, limits: Limits = NO_LIMITS) -> "Submitted":
        """See `dyt_bench.executors.contract.Executor`."""
        return Submitted(self, job, log.absolute(), limits)

    def submit(self, job: SlurmJob) -> str:
        """SLURM's number of the job: ``12_3``, the third of an array."""
        return self._submissions.submit(job)

    def submit_all(self, jobs: Sequence[SlurmJob]) -> list[str]:
        """Submit jobs as one array; raises UserError with what SLURM says."""
        import submitit

        folder = jobs[0].log.parent.parent / ".slurm"
        try:
            executor = submitit.SlurmExecutor(folder, max_num_timeout=_REQUEUES)
            executor.update_parameters(job_name="dyt-bench", **self.parameters)
            with executor.batch():
                submitted = [executor.submit(job) for job in jobs]
        except Exception as error:  # of many kinds
            raise UserError(f"SLURM takes no job: {reason(error)}") from None
        return [job.job_id for job in submitted]

    def _check(self, partition: str) -> None:
        if shutil.which("sbatch") is None:
            raise UserError(
                "the executor slurm needs SLURM's command 'sbatch', which is not on this machine: "
                "run dyt-bench on a login node, or choose another executor"
            )
        there = asked("sinfo", "--noheader", "--format=%R").split()
        if partition and not set(partition.split(",")) <= set(there):
            raise UserError(
                f"SLURM has no partition {quoted(partition)}: "
                f"there are {listed(dict.fromkeys(there))}"
            )


class Submitted:
    """A job in SLURM: the `dyt_bench.executors.contract.Running` of it."""

    def __init__(self, executor: SlurmExecutor, job: Job, log: Path, limits: Limits) -> None:
        self._executor = executor
        self._note = log.with_name(f"{log.name}.slurm")  # which job it is
        self._events = log.with_name(f"{log.name}.events")
        self._job = SlurmJob(job, log, self._events, limits)
        self._number = ""
        self._stopping: BaseException | None = None

    def __enter__(self) -> "Submitted":
        self._number = self._found()
        if not self._number:
            self._events.unlink(missing_ok=True)
            self._number = self._executor.submit(self._job)
            self._note.write_text(json.dumps({"job": self._number}))
        self._reader = Reader(self._events)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, KeyboardInterrupt) and not isinstance(error, BudgetSpent):
            self._executor.states.leave(self._number)
            return
        if error is not None:
            self.kill()
        for file in (self._note, self._events):
            file.unlink(missing_ok=True)

    def stop(self, error: BaseException) -> None:
        """Make the iteration raise ``error`` within a moment; called by another thread."""
        self._stopping = error

    def kill(self) -> None:
        """Cancel the job; training keeps a checkpoint."""
        with contextlib.suppress(UserError):
            self._executor.states.cancel(self._number)

    def __iter__(self) -> Iterator[Event]:
        """See `dyt_bench.executors.contract.Running`."""
        heard = told = time.monotonic()
        ended: float | None = None
        while True:
            if self._stopping is not None:
                raise self._stopping
            for event in self._reader.read():
                heard = told = time.monotonic()
                if event["event"] == "error":
                    raise event["error"]
                yield event
                if event["event"] == "outcome":
                    return
            now = time.monotonic()
            if self._executor.states.is_active(self._number):
                ended = None
            elif ended is None:
                ended = now
            elif now - ended > _LATE_S:
                state = self._executor.states.last(self._number)
                raise JobFailed(f"SLURM ended its job {self._number} ({state})")
            if now - told >= _QUIET_S:
                told = now
                yield {"event": "quiet", "seconds": now - heard, "alive": True}
            time.sleep(_LOOK_S)

    def _found(self) -> str:
        """The number of the job that was submitted before; empty if it is to be submitted."""
        try:
            number = str(json.loads(self._note.read_text())["job"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        events = Reader(self._events).read()
        if events and events[-1]["event"] == "outcome":
            return number
        return number if self._executor.states.is_active(number) else ""


class States:
    """What SLURM says of the user's jobs, asked for all at once and not too often."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = -_ASK_S
        self._active: set[str] = set()
        self._left: list[str] = []

    def is_active(self, number: str) -> bool:
        """Whether the job waits or runs; one that is unknown as SLURM does not answer does."""
        with self._lock:
            if time.monotonic() - self._asked >= _ASK_S:
                self._ask()
            return number in self._active

    def last(self, number: str) -> str:
        """How a job ended, as far as SLURM remembers."""
        with contextlib.suppress(UserError):
            shown = asked("scontrol", "--oneliner", "show", "job", number).split()
            words = dict(word.split("=", 1) for word in shown if "=" in word)
            return f"state {words['JobState']}, reason {words.get('Reason', 'unknown')}"
        return "SLURM does not know it any more"

    def cancel(self, number: str) -> None:
        asked("scancel", number)

    def leave(self, number: str) -> None:
        """Say once that jobs continue without this command."""
        with self._lock:
            self._left.append(number)
            if len(self._left) == 1:
                print(
                    "dyt-bench: SLURM's jobs continue: the same command finds them again, and "
                    f"`scancel {number.partition('_')[0]}` ends them",
                    file=sys.stderr,
                )

    def _ask(self) -> None:
        self._asked = time.monotonic()
        with contextlib.suppress(UserError):  # it may be busy, or restarted: jobs do not end by it
            form = ("--noheader", "--array", "--format=%i %T", f"--user={getpass.getuser()}")
            lines = [line.split() for line in asked("squeue", *form).splitlines()]
            ended = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}
            self._active = {number for number, state, *_ in lines if state not in ended}

    def submitted(self, numbers: Sequence[str]) -> None:
        """Jobs that SLURM has just been given are active before it is asked again."""
        with self._lock:
            self._active |= set(numbers)
            self._asked = time.monotonic()


class _Submissions:
    """Gathers the jobs that start within a second, and submits them as one array."""

    def __init__(self, executor: SlurmExecutor) -> None:
        self._executor = executor
        self._lock = threading.Lock()
        self._waiting: list[SlurmJob] = []
        self._done = threading.Condition(self._lock)
        self._numbers: dict[int, str | UserError] = {}

    def submit(self, job: SlurmJob) -> str:
        with self._lock:
            self._waiting.append(job)
            first = len(self._waiting) == 1
        if first:
            time.sleep(_GATHER_S)
            self._send()
        with self._done:
            self._done.wait_for(lambda: id(job) in self._numbers)
            number = self._numbers.pop(id(job))
        if isinstance(number, UserError):
            raise number
        return number

    def _send(self) -> None:
        with self._lock:
            jobs, self._waiting = self._waiting, []
        found: list[str | UserError]
        try:
            numbers = self._executor.submit_all(jobs)
            self._executor.states.submitted(numbers)
            found = [*numbers]
        except UserError as error:
            found = [error] * len(jobs)
        with self._done:
            self._numbers |= {id(job): each for job, each in zip(jobs, found, strict=True)}
            self._done.notify_all()


def asked(command: str, *arguments: str) -> str:
    """What a command of SLURM prints; raises UserError with what it says instead."""
    try:
        run = subprocess.run(
            [command, *arguments],
            capture_output=True,
            text=True,
            timeout=_ANSWER_S,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"SLURM's command {command} does not answer: {reason(error)}") from None
    if run.returncode:
        said = run.stderr.strip().splitlines() or [f"exit status {run.returncode}"]
        raise UserError(f"SLURM's command {command} fails: {said[0][:200]}")
    return run.stdout
