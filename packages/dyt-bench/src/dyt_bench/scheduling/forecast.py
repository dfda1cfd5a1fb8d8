"""A suite's time, memory and disk, forecast from a probe or from earlier runs.

A probe is a run of a few steps, trained like any other and kept in the workspace's ``probes/``.
The same function reads it and the records of earlier runs. No torch in this process.
"""

import math
import shutil
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

from dyt_bench.discovery.domains import Discovery
from dyt_bench.discovery.extensions import LOCAL
from dyt_bench.errors import UserError
from dyt_bench.executors.contract import JobFailed
from dyt_bench.executors.slots import local_slots
from dyt_bench.plugin.task import Run, Task
from dyt_bench.records.environment import fingerprint
from dyt_bench.records.record import Record, Result
from dyt_bench.records.stored import Unreadable
from dyt_bench.records.workspace import Workspace
from dyt_bench.scheduling.jobs import TRAINING, train_run
from dyt_bench.scheduling.runner import TIMING_ROUNDS
from dyt_bench.suite.executors import make_executor
from dyt_bench.suite.expand import Suite
from dyt_bench.suite.quantities import in_words

PROBE_STEPS = 8  # the first five are warm-up
_TRUSTED_STEPS = (
    50  # from so many on, the mean is used, not the median: it includes every cost of training
)
_WARMUP_ROUNDS = 2
_MEASURES = ("memory/peak_mib", "model/parameters")
_ROWS = 200  # at least so many of a long run's steps are logged

Key = tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """What one run took, in parts that scale separately."""

    start_s: float  # process, data, model, first validation
    step_s: float
    validation_s: float
    memory_mib: float  # of the training process, without its loaders' workers
    row_bytes: float
    checkpoint_bytes: float  # while it runs
    source: str  # "probe" or "earlier run"


@dataclass(frozen=True)
class Line:
    """A run's forecast; all zero if it is done."""

    run: Run
    done: bool
    seconds: float | None  # None: not known
    memory_mib: float | None
    disk_bytes: float | None  # that remain
    checkpoint_bytes: float  # while it runs
    source: str
    problem: str = ""  # why it will not fit or run
    state: str = "waiting"  # or how it ended
    alone_s: float = 0.0  # step timing that comes with it, while nothing else runs


@dataclass(frozen=True)
class Forecast:
    """A suite's forecast, run by run; step timing is counted with a task's last run."""

    lines: tuple[Line, ...]
    slots: int = 1  # runs at a time

    @property
    def seconds(self) -> float:
        return _total(self.lines, self.slots) / self.slots

    @property
    def memory_mib(self) -> float:
        """Peak memory, of the largest runs at the same time."""
        return sum(sorted(line.memory_mib or 0.0 for line in self.lines)[-self.slots :])

    @property
    def disk_bytes(self) -> float:
        stay = sum(line.disk_bytes or 0.0 for line in self.lines)
        return stay + max((line.checkpoint_bytes for line in self.lines), default=0.0)

    @property
    def unknown(self) -> list[Run]:
        return [line.run for line in self.lines if line.seconds is None and not line.problem]


def forecast(
    suite: Suite,
    workspace: Workspace,
    problems: Mapping[Key, str] = {},
    *,
    jobs: int | None = None,
) -> Forecast:
    """Forecast from the workspace's probes and records; those that cannot be read are set aside.

    Args:
        problems: `key` -> why its probe failed.
        jobs: runs at a time; None: as many as `run` starts.
    """
    known = _known(workspace)
    memory, disk = _limits(workspace)
    lines = []
    records = workspace.readable([workspace.record(run) for run in suite.runs])
    results = {record.folder: record.result() for record in records}
    for runs in suite.by_task.values():
        keys = [key(run.parameters()) for run in runs]
        timing = _timing_s(runs, [known[which] for which in keys if which in known], workspace)
        for run, which in zip(runs, keys, strict=True):
            result = results.get(workspace.record(run).folder)
            state = "waiting" if result is None else result.status
            if result is not None and result.status != "failed":
                lines.append(Line(run, True, 0.0, 0.0, 0.0, 0.0, result.status, state=state))
                continue
            measured = known.get(which)
            problem = problems.get(which, "")
            if measured is None:
                lines.append(Line(run, False, None, None, None, 0.0, "not known", problem, state))
                continue
            if measured.memory_mib > memory:
                problem = (
                    f"does not fit: it takes {measured.memory_mib:,.0f} MiB of memory, "
                    f"this machine has {memory:,.0f}"
                )
            seconds = _seconds(run.task, measured)
            size = measured.row_bytes * _rows(run.task)
            lines.append(
                Line(
                    run=run,
                    done=False,
                    seconds=seconds,
                    memory_mib=measured.memory_mib,
                    disk_bytes=size,
                    checkpoint_bytes=measured.checkpoint_bytes,
                    source=measured.source,
                    problem=problem,
                    state=state,
                    alone_s=timing,
                )
            )
            timing = 0.0
    slots = len(local_slots(jobs)) if suite.executor == LOCAL else jobs or 1
    found = Forecast(tuple(lines), slots)
    if found.disk_bytes > disk:
        raise UserError(
            f"the suite's records take about {found.disk_bytes / 2**20:,.0f} MiB and "
            f"{workspace.folder} has {disk / 2**20:,.0f} MiB free: make room, or name another "
            "folder with --workspace"
        )
    return found


def probe(
    suite: Suite, found: Discovery, workspace: Workspace, say: Callable[[str], None]
) -> dict[Key, str]:
    """Train a few steps of every task and variant that differ by more than their seed and budget.

    Returns:
        `key` -> why it could not be probed.
    """
    runs: dict[Key, Run] = {}
    for run in suite.runs:
        runs.setdefault(key(run.parameters()), run)
    preload = [
        module
        for name in dict.fromkeys(run.task.domain for run in suite.runs)
        for module in found.domain(name).preload
    ]
    executor = make_executor(suite.executor, suite.executor_options, [*TRAINING, *preload])
    environment = fingerprint()
    problems = {}
    (workspace.folder / "probes").mkdir(parents=True, exist_ok=True)
    for i, (which, run) in enumerate(runs.items(), start=1):
        say(f"probing {i} of {len(runs)}: {run.task.group} {run.variant.label}")
        task = replace(run.task, steps=PROBE_STEPS, val_every=PROBE_STEPS)
        short = Run(task=task, variant=run.variant)
        record = Record(workspace.folder / "probes" / short.identity)
        record.begin(short, environment)
        try:
            with executor.run(partial(_train, short, record), record.log_path) as running:
                for event in running:
                    if event["event"] == "outcome":
                        record.finish(event["value"])
        except JobFailed as failure:
            problems[which] = f"{failure} (see {record.log_path})"
    return problems


@dataclass(frozen=True)
class Pruned:
    """What fits a budget, and what was dropped, a sentence each."""

    runs: tuple[Run, ...]
    seconds: float
    dropped: tuple[str, ...]


def prune(found: Forecast, budget_s: float) -> Pruned:
    """The largest part of a suite that fits the budget.

    Dropped first is what cannot run; then whole seeds, the last first, since a comparison needs
    all its variants; then, with one seed left, whole tasks, the most expensive first.

    Raises:
        UserError: not even the cheapest task fits, or the cost of a run is not known.
    """
    if found.unknown:
        raise UserError(
            f"nothing is known yet of {found.unknown[0].label}: give --probe to find out "
            "what it takes"
        )
    dropped = [f"{line.run.label}: {line.problem}" for line in found.lines if line.problem]
    lines = [line for line in found.lines if not line.problem]
    budget_s *= found.slots
    lines, seeds = _fitting(
        lines, lambda line: line.run.task.seed, lambda seed, _: seed, budget_s, found.slots
    )
    dropped += [f"seed {seed}, which takes {in_words(cost / found.slots)}" for seed, cost in seeds]
    lines, groups = _fitting(
        lines, lambda line: line.run.task.group, _by_cost, budget_s, found.slots
    )
    dropped += [f"{group}, which takes {in_words(cost / found.slots)}" for group, cost in groups]
    total = _total(lines, found.slots)
    if total > budget_s:
        raise UserError(
            f"nothing of the suite fits {in_words(budget_s / found.slots)}: one seed of the "
            f"cheapest task takes about {in_words(total / found.slots)}; give it fewer --steps or "
            "a longer --budget"
        )
    return Pruned(tuple(line.run for line in lines), total / found.slots, tuple(dropped))


def _fitting(
    lines: list[Line],
    part_of: Callable[[Line], Any],
    rank: Callable[[Any, float], Any],
    budget_s: float,
    slots: int,
) -> tuple[list[Line], list[tuple[Any, float]]]:
    """The lines without the parts of the highest rank, until the rest fits or one part is left.

    Args:
        part_of: which part a line belongs to.
        rank: of a part and its seconds; what is dropped first has the highest.

    Returns:
        The lines that stay; the parts that are dropped, each with its seconds.
    """
    costs: dict[Any, float] = {}
    for line in lines:
        costs[part_of(line)] = costs.get(part_of(line), 0.0) + _total([line], slots)
    left, total, dropped = (
        sorted(costs, key=lambda part: rank(part, costs[part])),
        _total(lines, slots),
        [],
    )
    while total > budget_s and len(left) > 1:
        part = left.pop()
        total -= costs[part]
        dropped.append((part, costs[part]))
    stay = set(left)
    return [line for line in lines if part_of(line) in stay], dropped


def _by_cost(group: str, cost: float) -> tuple[float, list[int]]:
    """Of groups that cost the same, the first by name ranks highest."""
    return cost, [-ord(letter) for letter in group]


def key(parameters: Mapping[str, Any]) -> Key:
    """The parameters of a run that decide the cost of a step."""
    of_task = ("domain", "model", "checkpoint", "dataset", "path", "options", "batch_size")
    names = (*of_task, "training", "devices", "nodes", "strategy", "micro_batch", "variant")
    return tuple(str(parameters.get(name, "")) for name in names)


def _total(lines: Iterable[Line], slots: int) -> float:
    """Seconds of slots: what runs alone takes all of them."""
    return sum((line.seconds or 0.0) + slots * line.alone_s for line in lines)


def _known(workspace: Workspace) -> dict[Key, Measured]:
    """`key` -> what the workspace's records measured: the newest run, else the newest probe."""
    found: dict[Key, tuple[bool, float, Measured]] = {}
    for folder, source in (("probes", "probe"), ("runs", "earlier run")):
        for path in (workspace.folder / folder).glob("*/result.json"):
            record = Record(path.parent)
            try:
                result, about = record.result(), record.about()
                if result is None or result.status != "finished" or not record.begun or not about:
                    continue
                measured = _measured(record, result, source)
            except Unreadable:  # whose suite it is says so
                continue
            which = key(about["parameters"])
            rank = (source != "probe", result.ended)
            if measured is not None and (which not in found or found[which][:2] < rank):
                found[which] = (*rank, measured)
    return {which: entry[2] for which, entry in found.items()}


def _measured(record: Record, result: Result, source: str) -> Measured | None:
    rows = record.rows()
    step_s = result.summary.get("time/step_ms_median", 0.0) / 1e3
    steps = _steps(result)
    numbers = (step_s, *(result.summary.get(name, 0.0) for name in _MEASURES))
    if not rows or not steps or not step_s or not all(map(math.isfinite, numbers)):
        return None
    first = rows[0]["time"]
    validations = [
        max(0.0, row["time"] - before["time"] - (row["step"] - before["step"]) * step_s)
        for before, row in pairwise(rows)
        if "val/loss" in row
    ]
    validation_s = statistics.median(validations) if validations else 0.0
    if steps >= _TRUSTED_STEPS:
        trained = rows[-1]["time"] - first - sum(validations)
        step_s = max(step_s, trained / steps)
    return Measured(
        start_s=max(0.0, first - result.started) + max(0.0, result.ended - rows[-1]["time"]),
        step_s=step_s,
        validation_s=validation_s,
        memory_mib=result.summary.get("memory/peak_mib", 0.0),
        row_bytes=record.rows_path.stat().st_size / len(rows),
        # Weights and the optimiser's two moments, four bytes each.
        checkpoint_bytes=12 * result.summary.get("model/parameters", 0.0),
        source=source,
    )


def _steps(result: Result) -> int:
    steps = result.last.get("step", 0)
    return int(steps) if math.isfinite(steps) else 0


def _seconds(task: Task, measured: Measured) -> float:
    validations = task.steps // task.val_every
    return measured.start_s + task.steps * measured.step_s + validations * measured.validation_s


def _timing_s(runs: Sequence[Run], costs: Sequence[Measured], workspace: Workspace) -> float:
    """Seconds to time a task's variants in turn, the first twice; 0 if that is done."""
    if len(runs) < 2 or not costs:
        return 0.0
    if workspace.timing_path(runs[0].task, [run.variant for run in runs]).exists():
        return 0.0
    steps = sum(cost.step_s for cost in costs) + costs[0].step_s
    return sum(cost.start_s for cost in costs) + (TIMING_ROUNDS + _WARMUP_ROUNDS) * steps


def _rows(task: Task) -> float:
    """Rows that the trainer logs: every step, or fewer so that about 200 remain."""
    return task.steps / max(1, task.steps // _ROWS) + task.steps / task.val_every + 1


def _limits(workspace: Workspace) -> tuple[float, float]:
    """This machine's memory in MiB, and the bytes free on the workspace's disk."""
    import psutil

    there = workspace.folder
    while not there.exists():
        there = there.parent
    return psutil.virtual_memory().total / 2**20, shutil.disk_usage(there).free


def _train(run: Run, record: Record, tell: Callable[[dict[str, Any]], None]) -> Result:
    return train_run(run, record, tell)


def describe(found: Forecast) -> str:
    """One line: what the suite takes in all, or how many runs are not known."""
    left = [line for line in found.lines if not line.done]
    known = [line for line in left if line.seconds is not None]
    if not left:
        return "all of it is done"
    text = f"nothing is known yet of {_runs(len(found.unknown))}: --probe measures a few steps"
    if not known:
        return text
    total = (
        f"about {in_words(found.seconds)}, {found.memory_mib:,.0f} MiB of memory, "
        f"{found.disk_bytes / 2**20:,.1f} MiB of disk"
    )
    return f"{total}; {text}" if found.unknown else total


def line_text(line: Line) -> str:
    """A run's forecast as text, beside its name."""
    if line.done:
        return line.source
    if line.problem or line.seconds is None:
        return line.problem
    return f"{in_words(line.seconds)}, {line.memory_mib:,.0f} MiB ({line.source})"


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
