"""Runs an efficiency suite: measures each task, logs to MLflow, writes the page."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from dyt_bench.discovery.domains import Discovery
from dyt_bench.efficiency.page import EfficiencyLine, lines, row, sentence, write_page
from dyt_bench.errors import UserError
from dyt_bench.executors.contract import Executor, JobFailed, Limits
from dyt_bench.plugin.task import Task, Variant
from dyt_bench.records.environment import fingerprint
from dyt_bench.records.workspace import Workspace
from dyt_bench.suite.executors import make_executor
from dyt_bench.suite.expand import Suite
from dyt_bench.tracking import Tracker
from dyt_bench.tracking.store import VARIANT_TAG

if TYPE_CHECKING:
    from dyt_bench.efficiency.measure import Seconds

ROUNDS = 21  # of every part and variant

_console = Console(stderr=True)


def time_suite(
    suite: Suite, found: Discovery, workspace: Workspace, tracking_uri: str | None, out: Path
) -> list[EfficiencyLine]:
    """Measure every task of ``suite`` with all its variants and write the page into ``out``.

    Returns:
        The page's lines, model by model.

    Raises:
        UserError: the tracking store cannot be used, or a task could not be measured.
    """
    workspace.create()
    uri = tracking_uri or workspace.tracking_uri
    tracker = Tracker(uri, f"dyt-bench/{suite.name}", workspace)
    with _console.status("starting MLflow and the workers"):
        tracker.connect()
    environment = fingerprint()
    domains = dict.fromkeys(task.domain for task in suite.tasks)
    preload = [module for name in domains for module in found.domain(name).preload]
    modules = ["dyt_bench.efficiency.measure", *preload]
    executor = make_executor(suite.executor, suite.executor_options, modules)
    limits = Limits(suite.run_timeout, suite.run_memory)
    measured: list[EfficiencyLine] = []
    groups = dict.fromkeys(task.group for task in suite.tasks)
    for group in groups:
        builds = [task for task in suite.tasks if task.group == group]
        task = builds[0]
        name = f"{task.domain}/{task.model}"
        seconds = []
        for number, build in enumerate(builds, start=1):
            variants = suite.variants_of(build)
            log = workspace.timing_path(build, variants).with_suffix(".log")
            turns = ", ".join(variant.label for variant in variants)
            with _console.status(f"{name}, build {number} of {len(builds)}: {turns}, in turn"):
                try:
                    job = partial(_job, build, variants, suite.compile)
                    seconds.append(_measure(executor, job, log, limits))
                except JobFailed as failure:
                    raise UserError(
                        f"{name} could not be measured: {failure} (see {log})"
                    ) from None
        of_task = lines(name, seconds)
        measured += of_task
        _print(of_task)
        for line in of_task:
            tracker.log_run(
                f"{line.model} {line.variant}",
                {"domain": task.domain, "model": task.model},
                {
                    **{f"time_ms/{_key(part)}": ms for part, ms in line.ms.items()},
                    **{f"ratio/{_key(part)}": own.middle for part, own in line.ratio.items()},
                },
                {
                    VARIANT_TAG: line.variant,
                    **{f"env.{key}": value for key, value in environment.items()},
                },
            )
    tracker.close()
    write_page(suite.title, measured, environment, out)
    _console.print(f"report      {out / 'README.md'}", highlight=False, soft_wrap=True)
    return measured


def _measure(
    executor: Executor, job: Callable[..., "Seconds"], log: Path, limits: Limits
) -> "Seconds":
    with executor.run(job, log, limits) as running:
        *_, outcome = running  # the job sends nothing else
    seconds: Seconds = outcome["value"]
    return seconds


def _job(
    task: Task, variants: list[Variant], compile: bool, tell: Callable[[dict[str, Any]], None]
) -> "Seconds":
    # Imported here, as only the job's process needs torch.
    from dyt_bench.efficiency.measure import measure

    return measure(task, variants, rounds=ROUNDS, compile=compile)


def _key(part: str) -> str:
    return part.replace(", ", "_")


def _print(of_task: list[EfficiencyLine]) -> None:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for title in row(of_task[0]):
        table.add_column(title, justify="left" if title in ("model", "variant") else "right")
    for line in of_task:
        table.add_row(*row(line).values())
    _console.print(table)
    _console.print(sentence(of_task)[2:], highlight=False, soft_wrap=True)
