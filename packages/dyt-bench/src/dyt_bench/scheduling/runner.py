"""Run a suite: every run in a process of its own, as many at a time as there are slots."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from dyt_bench.discovery.domains import Discovery
from dyt_bench.executors.contract import Event, Executor, JobFailed, Limits
from dyt_bench.executors.slots import Slot, in_slot
from dyt_bench.plugin.atomic import write_json
from dyt_bench.plugin.task import Run, Task, Variant
from dyt_bench.records.environment import fingerprint
from dyt_bench.records.record import Record, Result
from dyt_bench.records.workspace import Workspace, changed
from dyt_bench.scheduling.board import Board
from dyt_bench.scheduling.jobs import TRAINING, time_task, train_run
from dyt_bench.scheduling.slots import Slots
from dyt_bench.suite.executors import make_executor
from dyt_bench.suite.expand import Suite
from dyt_bench.tracking import Tracker
from dyt_bench.training.outcome import CHECKPOINT_EVERY_S, Emit
from dyt_bench.verdicts.speed import step_time_ratios

TIMING_ROUNDS = 11  # interleaved steps of every variant


@dataclass(frozen=True)
class How:
    """How runs are run, which decides nothing of their results but the threads."""

    fresh: bool = False  # run again what is done; after a pre-emption, what was before it began
    checkpoint_every_s: float = CHECKPOINT_EVERY_S
    keep_weights: bool = False
    jobs: int | None = None  # runs at a time; None: as many as the executor's machine has room for
    threads: int | None = None  # of each; None: one on a CPU


@dataclass(frozen=True)
class Runner:
    """Runs a suite."""

    suite: Suite
    workspace: Workspace
    tracker: Tracker
    board: Board
    found: Discovery
    how: How = field(default_factory=How)
    fresh_since: float | None = None  # what was begun before is run again; in s since the epoch

    def run(self) -> Iterator[tuple[Run, Result]]:
        """Run what is not done yet; yields each run as it ends, then times the tasks' steps.

        Runs start task by task, in the suite's order. One that diverges or fails is recorded as
        such, and the next one starts. After an interruption finished runs stay finished, and the
        same call resumes. A run whose task was timed is yielded again, with its step-time ratio.

        Raises:
            CannotWrite: the disk is full; what was recorded until then is whole.
        """
        domains = dict.fromkeys(run.task.domain for run in self.suite.runs)
        preload = [module for name in domains for module in self.found.domain(name).preload]
        suite = self.suite
        modules = [*TRAINING, *preload]
        executor = make_executor(suite.executor, suite.executor_options, modules)
        owned = slots_of(executor, self.how.jobs, self.how.threads)
        most = self.board.slots = len(owned)
        widest = max((run.task.devices for run in self.suite.runs), default=1)
        if widest > len(owned):  # fewer runs at a time than devices of one run
            owned = slots_of(executor, widest, self.how.threads)
        results: dict[str, Result] = {}
        for run, result in self._train(executor, owned, most):
            results[run.identity] = result
            yield run, result
        yield from self._time(executor, owned[0], results)

    def _train(
        self, executor: Executor, owned: Sequence[Slot], most: int
    ) -> Iterator[tuple[Run, Result]]:
        environment = fingerprint()
        waiting = deque(run for runs in self.suite.by_task.values() for run in runs)
        started: dict[str, tuple[Run, Record, float]] = {}
        slots: Slots[str] = Slots(executor, owned, most)
        with slots:
            while waiting or slots.is_busy:
                while waiting and slots.is_free(waiting[0].task.devices):
                    run = waiting.popleft()
                    record = self.workspace.record(run)
                    if (done := self._done(run, record)) is not None:
                        yield run, done
                        continue
                    self._begin(run, record, environment)
                    started[run.identity] = (run, record, time.time())
                    job = partial(
                        _train, run, record, self.how.checkpoint_every_s, self.how.keep_weights
                    )
                    devices = run.task.devices
                    slots.start(run.identity, job, record.log_path, self._limits, devices)
                if slots.is_busy:
                    identity, event = slots.next_event()
                    run, record, since = started[identity]
                    result = self._handle(run, record, since, event)
                    if result is not None:
                        record.finish(result)
                        self.board.finish(run, result, reused=False)
                        yield run, result

    @property
    def _limits(self) -> Limits:
        return Limits(self.suite.run_timeout, self.suite.run_memory)

    def _is_old(self, seconds: float) -> bool:
        """Whether what is of that time is run again."""
        return self.fresh_since is not None and seconds < self.fresh_since

    def _done(self, run: Run, record: Record) -> Result | None:
        """The result of a run that is done before; None if it has to run."""
        result = None if self._is_old(record.about().get("started", 0.0)) else record.result()
        if result is None or result.status == "failed":
            return None
        self.tracker.follow(record)
        self.board.finish(run, result, reused=True)
        return result

    def _begin(self, run: Run, record: Record, environment: dict[str, str]) -> None:
        if not record.begun or self._is_old(record.about().get("started", 0.0)):
            record.begin(run, environment)
        else:
            record.reopen()
        self.tracker.follow(record)
        self.board.start(run)

    def _handle(
        self, run: Run, record: Record, since: float, event: Event | JobFailed
    ) -> Result | None:
        """Take note of a run's event; its result if that was the last one."""
        match event:
            case JobFailed():
                reason = f"{event} (see {record.log_path})"
                return Result(status="failed", reason=reason, started=since, ended=time.time())
            case {"event": "row", "step": step, "metrics": metrics}:
                self.board.row(run, step, metrics)
            case {"event": "resumed", "step": step}:
                self.board.resumed(run, step)
            case {"event": "quiet", "seconds": seconds, "alive": alive}:
                self.board.quiet(run, seconds, alive=alive)
            case {"event": "outcome", "value": Result() as result}:
                metric = self.found.metric(run.task.domain).name
                if result.status != "finished" or metric in result.last:
                    return result
                why = f"it never logged {metric}, by which its domain is judged"
                reason = f"{why} (see {record.log_path})"
                return Result(status="failed", reason=reason, started=since, ended=time.time())
        return None

    def _time(
        self, executor: Executor, slot: Slot, results: dict[str, Result]
    ) -> Iterator[tuple[Run, Result]]:
        """Time the steps of each task's variants, alone on the machine; yields runs with ratios."""
        tasks = [
            task
            for task in self.suite.tasks
            if len(self.suite.variants_of(task)) > 1 and task.split != "tuning"
        ]
        for number, task in enumerate(tasks, start=1):
            variants = self.suite.variants_of(task)
            place = f"{number} of {len(tasks)}"
            seconds = self._timing(executor, slot, task, variants, place)
            for variant in variants if seconds else ():
                run = Run(task=task, variant=variant)
                result = results[run.identity]
                ratios = step_time_ratios(seconds, variant.label)
                if result.status == "finished" and not ratios.items() <= result.summary.items():
                    result = replace(result, summary={**result.summary, **ratios})
                    record = self.workspace.record(run)
                    record.finish(result)
                    self.tracker.follow(record)
                    yield run, result
            if self.suite.compile:
                self._timing(executor, slot, task, variants, place, compile=True)
        self.board.note("")

    def _timing(
        self,
        executor: Executor,
        slot: Slot,
        task: Task,
        variants: list[Variant],
        place: str,
        *,
        compile: bool = False,
    ) -> dict[str, list[float]]:
        """Seconds of a step by variant and round; empty if the task could not be timed."""
        path = self.workspace.timing_path(task, variants, compile=compile)
        seconds: dict[str, list[float]] | None = (
            None if self._is_old(changed(path)) else self.workspace.timing(path)
        )
        if seconds is not None:
            return seconds
        how = "compiled, in turn" if compile else "in turn"
        self.board.note(f"timing {place}: {task.label}, {len(variants)} variants {how}")
        job = partial(in_slot, slot, partial(_time, task, variants, compile))
        try:
            with executor.run(job, path.with_suffix(".log"), self._limits) as running:
                for event in running:
                    if event["event"] == "outcome":
                        seconds = event["value"]
        except JobFailed as failure:
            self.board.note(f"timing {task.label} failed: {failure}")
        if seconds is None:
            return {}
        write_json(path, seconds)
        return seconds


def slots_of(executor: Executor, jobs: int | None, threads: int | None) -> Sequence[Slot]:
    """What each of the jobs owns that ``executor`` runs at a time."""
    own = getattr(executor, "slots", None)
    return own(jobs, threads) if own is not None else [Slot(threads)] * (jobs or 1)


# An executor passes a job one argument, a way to send events.


def _train(
    run: Run, record: Record, checkpoint_every_s: float, keep_weights: bool, emit: Emit
) -> Result:
    return train_run(
        run, record, emit, checkpoint_every_s=checkpoint_every_s, keep_weights=keep_weights
    )


def _time(task: Task, variants: list[Variant], compile: bool, emit: Emit) -> dict[str, list[float]]:
    return time_task(task, variants, rounds=TIMING_ROUNDS, compile=compile)
