"""Run a suite: time each task's variants, then train every run in a process of its own."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dyt_bench.discovery.domains import Discovery
from dyt_bench.discovery.extensions import EXECUTORS
from dyt_bench.executors.contract import Executor, Job, JobFailed, Limits
from dyt_bench.plugin.atomic import write_json
from dyt_bench.plugin.task import Run, Task, Variant
from dyt_bench.records.environment import fingerprint
from dyt_bench.records.record import Record, Result
from dyt_bench.records.workspace import Workspace, changed
from dyt_bench.scheduling.board import Board
from dyt_bench.scheduling.jobs import TRAINING, time_task, train_run
from dyt_bench.suite.expand import Suite
from dyt_bench.tracking import Tracker
from dyt_bench.training.outcome import CHECKPOINT_EVERY_S, Emit
from dyt_bench.verdicts.statistics import step_time_ratios

TIMING_ROUNDS = 11  # interleaved steps of every variant


@dataclass(frozen=True)
class Runner:
    """Runs a suite."""

    suite: Suite
    workspace: Workspace
    tracker: Tracker
    board: Board
    found: Discovery
    fresh_since: float | None = None  # what was begun before is run again; in s since the epoch
    checkpoint_every_s: float = CHECKPOINT_EVERY_S
    keep_weights: bool = False

    def run(self) -> Iterator[tuple[Run, Result]]:
        """Run what is not done yet; yields each run with its result, as they end.

        A run that diverges or fails is recorded as such, and the next one starts. After an
        interruption finished runs stay finished, and the same call resumes.

        Raises:
            CannotWrite: the disk is full; what was recorded until then is whole.
        """
        environment = fingerprint()
        domains = dict.fromkeys(run.task.domain for run in self.suite.runs)
        preload = [module for name in domains for module in self.found.domain(name).preload]
        executor = EXECUTORS.load(self.suite.executor)([*TRAINING, *preload])

        for task in self.suite.tasks:
            variants = self.suite.variants_of(task)
            timing = self._timing(executor, task, variants) if len(variants) > 1 else {}
            for variant in variants:
                run = Run(task=task, variant=variant)
                ratios = step_time_ratios(timing, variant.label) if timing else {}
                yield run, self._run(executor, run, environment, ratios)

    def _is_old(self, seconds: float) -> bool:
        """Whether what is of that time is run again."""
        return self.fresh_since is not None and seconds < self.fresh_since

    def _run(
        self,
        executor: Executor,
        run: Run,
        environment: dict[str, str],
        ratios: dict[str, float],
    ) -> Result:
        record = self.workspace.record(run)
        fresh = self._is_old(record.about().get("started", 0.0))
        result = None if fresh else record.result()
        if result is not None and result.status != "failed":
            self.tracker.follow(record)
            self.board.finish(run, result, reused=True)
            return result
        if fresh or not record.begun:
            record.begin(run, environment)
        else:
            record.reopen()
        self.tracker.follow(record)
        self.board.start(run)
        started = time.time()
        try:
            job = partial(_train, run, record, self.checkpoint_every_s, self.keep_weights)
            result = self._follow(executor, run, job, record.log_path)
            metric = self.found.metric(run.task.domain).name
            if result.status == "finished" and metric not in result.last:
                raise JobFailed(f"it never logged {metric}, by which its domain is judged")
            result = replace(result, summary={**result.summary, **ratios})
        except JobFailed as failure:
            result = Result(
                status="failed",
                reason=f"{failure} (see {record.log_path})",
                started=started,
                ended=time.time(),
            )
        record.finish(result)
        self.board.finish(run, result, reused=False)
        return result

    def _follow(self, executor: Executor, run: Run, job: Job, log: Path) -> Result:
        limits = Limits(self.suite.run_timeout, self.suite.run_memory)
        with executor.run(job, log, limits) as running:
            for event in running:
                match event:
                    case {"event": "row", "step": step, "metrics": metrics}:
                        self.board.row(run, step, metrics)
                    case {"event": "resumed", "step": step}:
                        self.board.resumed(run, step)
                    case {"event": "quiet", "seconds": seconds, "alive": alive}:
                        self.board.quiet(run, seconds, alive=alive)
                    case {"event": "outcome", "value": Result() as result}:
                        return result
        raise AssertionError("a job that ends without an outcome has failed")

    def _timing(
        self, executor: Executor, task: Task, variants: list[Variant]
    ) -> dict[str, list[float]]:
        """Seconds of a step by variant and round; empty if the task could not be timed."""
        path = self.workspace.timing_path(task, variants)
        seconds: dict[str, list[float]] | None = (
            None if self._is_old(changed(path)) else self.workspace.timing(path)
        )
        if seconds is not None:
            return seconds
        self.board.note(f"timing {task.label}, {len(variants)} variants in turn")
        limits = Limits(self.suite.run_timeout, self.suite.run_memory)
        log = path.with_suffix(".log")
        try:
            with executor.run(partial(_time, task, variants), log, limits) as running:
                for event in running:
                    if event["event"] == "outcome":
                        seconds = event["value"]
        except JobFailed as failure:
            self.board.note(f"timing {task.label} failed: {failure}")
        if seconds is None:
            return {}
        write_json(path, seconds)
        self.board.note("")
        return seconds


# An executor passes a job one argument, a way to send events.


def _train(
    run: Run, record: Record, checkpoint_every_s: float, keep_weights: bool, emit: Emit
) -> Result:
    return train_run(
        run, record, emit, checkpoint_every_s=checkpoint_every_s, keep_weights=keep_weights
    )


def _time(task: Task, variants: list[Variant], emit: Emit) -> dict[str, list[float]]:
    return time_task(task, variants, rounds=TIMING_ROUNDS)
