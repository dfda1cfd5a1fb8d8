"""Runs that have ended, the task groups they belong to, and which of them are comparable."""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from dyt_bench.errors import printable
from dyt_bench.plugin.domain import Metric
from dyt_bench.plugin.task import NATIVE, digest
from dyt_bench.records.record import Record, Result
from dyt_bench.records.workspace import SuiteRuns

BASELINE = NATIVE  # the variant that all others are compared with
MetricOf = Callable[[str], Metric]  # domain's name -> the metric it is judged by

_LONGEST = 60  # characters of a path in a group's name
# A task's interleaved steps: variant label -> seconds of a step, by round.
Timing = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class TaskGroup:
    """A task without its seed: the runs of one group are compared, seed by seed."""

    domain: str
    model: str
    dataset: str
    path: str
    steps: int
    batch_size: int
    learning_rate: float
    training: str
    train_samples: int | None
    val_every: int
    skip_bad_files: bool = False
    split: str = ""
    checkpoint: str = ""
    options: str = ""  # of the data set, as JSON
    optimizer: str = "adamw"

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> "TaskGroup":
        """The group of a run with these `dyt_bench.plugin.task.Run.parameters`."""
        p = parameters
        return cls(
            domain=str(p["domain"]),
            model=str(p["model"]),
            dataset=str(p["dataset"]),
            path=str(p.get("path", "")),
            steps=int(p["steps"]),
            batch_size=int(p["batch_size"]),
            learning_rate=float(p["learning_rate"]),
            training=str(p.get("training", "default")),
            train_samples=p.get("train_samples"),
            val_every=int(p["val_every"]),
            skip_bad_files=bool(p.get("skip_bad_files", False)),
            split=str(p.get("split", "")),
            checkpoint=str(p.get("checkpoint", "")),
            options=str(p.get("options", "")),
            optimizer=str(p.get("optimizer", "adamw")),
        )

    @property
    def label(self) -> str:
        """The group's name under `Evidence.expected`: ``vision/vit/digits``."""
        return f"{self.domain}/{self.model}/{self.dataset}"

    @property
    def budget(self) -> str:
        """The group's name in `Evidence.learning`: ``vision/vit/digits, 1000 steps``."""
        return f"{self.label}, {self.steps} steps"

    @property
    def model_alone(self) -> "TaskGroup":
        """The group at any number of steps: what budgets of one model have in common."""
        return replace(self, steps=0, val_every=0)


@dataclass(frozen=True)
class EndedRun:
    """A run that has ended, as its record tells: finished, diverged or failed."""

    about: dict[str, Any]
    result: Result
    rows: list[dict[str, float]]
    artifacts: tuple[Path, ...] = ()  # pictures that the run saved
    not_comparable: str = ""  # why verdicts leave it out; empty if they do not
    elsewhere: bool = False  # whether another processor trained it than the newest of its group

    @property
    def parameters(self) -> dict[str, Any]:
        parameters: dict[str, Any] = self.about["parameters"]
        return parameters

    @property
    def identity(self) -> str:
        return str(self.about["identity"])

    @property
    def variant(self) -> str:
        return str(self.parameters["variant"])

    @property
    def seed(self) -> int:
        return int(self.parameters["seed"])

    @cached_property
    def group(self) -> TaskGroup:
        return TaskGroup.of(self.parameters)

    @property
    def is_judged(self) -> bool:
        """Whether verdicts take the run into account."""
        return self.result.status == "finished" and not self.not_comparable

    @property
    def processor(self) -> tuple[str, str]:
        """The CPU's model, and the device class."""
        cpu = self.about["environment"].get("cpu", "")
        return str(cpu), self.result.facts.get("device", "")

    @property
    def costs(self) -> dict[str, float]:
        """Times and memory; none if measured elsewhere: two processors' are not averaged."""
        if self.elsewhere:
            return {}
        summary = self.result.summary
        return {key: summary[key] for key in summary if key.startswith(("time/", "memory/"))}

    def curve(self, metric: str) -> list[tuple[float, float]]:
        """The metric's points, (step, value), in the order in which they were logged."""
        return self.curves.get(metric, [])

    @cached_property
    def curves(self) -> dict[str, list[tuple[float, float]]]:
        """Metric -> its `curve`; metrics in the order of their first point."""
        curves: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for row in self.rows:
            step = row["step"]
            for metric, value in row.items():
                curves[metric].append((step, value))
        return {metric: curves[metric] for metric in curves if metric not in ("step", "time")}


@dataclass(frozen=True)
class Evidence:
    """What the verdicts on a suite are drawn from."""

    title: str
    runs: list[EndedRun]
    timings: Mapping[str, Timing] = field(default_factory=dict)  # task identity -> seconds
    # domain/model/dataset -> what a paper reports there, with the keys
    # "values" (variant -> value), "metric" (its name) and "source" (the paper)
    expected: Mapping[str, Any] = field(default_factory=dict)
    trials: Sequence[EndedRun] = ()  # that chose learning rates; no verdict is drawn from them
    looks: int = 1  # how often verdicts could end the suite: `run --until` looks several times
    compiled: Mapping[str, Timing] = field(default_factory=dict)  # `timings`, by torch.compile
    # Runs of the baseline alone with more steps: has it learned all it will? Nothing else is
    # drawn from them.
    longer: Sequence[EndedRun] = ()
    # `TaskGroup.budget`s at which the baseline is known to be still learning
    learning: Collection[str] = ()


def by_group(runs: Sequence[EndedRun]) -> dict[TaskGroup, list[EndedRun]]:
    """Group -> its runs, both in the order of ``runs``."""
    grouped: dict[TaskGroup, list[EndedRun]] = {}
    for run in runs:
        grouped.setdefault(run.group, []).append(run)
    return grouped


def without_longer(runs: Sequence[EndedRun]) -> tuple[list[EndedRun], list[EndedRun]]:
    """The runs that verdicts are drawn from, and the baseline's that only measure its plateau.

    Those are in groups of the baseline alone where the same model has variants with fewer steps.
    """
    compared: dict[TaskGroup, int] = {}  # model -> its fewest steps with a variant
    groups = by_group(runs)
    for group, own in groups.items():
        if any(run.variant != BASELINE for run in own):
            model = group.model_alone
            compared[model] = min(group.steps, compared.get(model, group.steps))
    longer = {
        group
        for group, own in groups.items()
        if all(run.variant == BASELINE for run in own)
        and group.steps > compared.get(group.model_alone, group.steps)
    }
    return (
        [run for run in runs if run.group not in longer],
        [run for run in runs if run.group in longer],
    )


def evidence_of(
    listed: SuiteRuns,
    runs: Sequence[EndedRun],
    timings: Mapping[str, Timing] = {},
    compiled: Mapping[str, Timing] = {},
) -> Evidence:
    """What verdicts are drawn from: every page and every leaderboard judges by it.

    Args:
        listed: what the suite last ran, and what it knows beside.
        runs: those that have ended.
        timings: task identity -> variant label -> seconds of interleaved steps.
        compiled: the same under ``torch.compile``.
    """
    others, trials = without_trials(runs)
    judged, longer = without_longer(others)
    return Evidence(
        title=printable(listed.title),
        runs=judged,
        timings=timings,
        expected={key: asdict(value) for key, value in listed.expected.items()},
        trials=trials,
        looks=listed.looks,
        compiled=compiled,
        longer=longer,
        learning=listed.learning,
    )


def without_trials(runs: Sequence[EndedRun]) -> tuple[list[EndedRun], list[EndedRun]]:
    """The runs that verdicts are drawn from, and the trials of learning rates.

    Where there are trials alone, as after an interruption, they stand in the others' place.
    """
    trials = [run for run in runs if run.group.split == "tuning"]
    others = [run for run in runs if run.group.split != "tuning"]
    return (others, trials) if others else (trials, [])


def load_runs(
    records: Sequence[Record], metric_of: Callable[[str], Metric] | None = None
) -> list[EndedRun]:
    """The runs among ``records`` that have ended, in the same order, comparable or not.

    Args:
        metric_of: domain's name -> the metric it is judged by; a run that never logged it, or no
            number, is not comparable.

    Raises:
        Unreadable: a record cannot be read.
    """
    runs = []
    for record in records:
        result = record.result()
        if result is not None:
            pictures = tuple(sorted(record.artifacts.glob("*.png")))
            run = EndedRun(record.about(), result, record.rows(), pictures)
            runs.append(run if metric_of is None else _logged(run, metric_of(run.group.domain)))
    return _mark(runs)


def _never_logged(result: Result, metric: str) -> str:
    """Why a finished run cannot be judged by the metric; empty if it can, or has not finished."""
    if result.status != "finished":
        return ""
    for values in (result.last, result.best):
        if metric not in values:
            return f"it never logged {metric}, by which its domain is judged"
        if not math.isfinite(values[metric]):
            return f"its {metric} is {values[metric]}"
    return ""


def _logged(run: EndedRun, metric: Metric) -> EndedRun:
    return replace(run, not_comparable=_never_logged(run.result, metric.name))


def group_names(groups: Iterable[TaskGroup]) -> dict[TaskGroup, str]:
    """Group -> ``domain/model``; equal names get what differs: ``llm/llama, 300 steps``."""
    groups = list(dict.fromkeys(groups))
    names = {}
    for group in groups:
        same = [s for s in groups if (s.domain, s.model) == (group.domain, group.model)]
        details = {
            "dataset": group.dataset,
            "checkpoint": _path(group.checkpoint),
            "path": _path(group.path),
            "options": _path(group.options),
            "steps": f"{group.steps} steps",
            "batch_size": f"batch {group.batch_size}",
            "learning_rate": f"lr {group.learning_rate:g}",
            "training": group.training,
            "optimizer": group.optimizer,
            "train_samples": f"{group.train_samples or 'all'} samples",
            "val_every": f"validated every {group.val_every}",
            "skip_bad_files": "bad files left out" if group.skip_bad_files else "",
            "split": f"{group.split} split" if group.split else "",
        }
        # How often it is validated follows from the steps, unless a suite chooses it.
        alike = [s for s in same if s.steps == group.steps]
        extra = [
            text
            for key, text in details.items()
            if text and len({getattr(s, key) for s in (alike if key == "val_every" else same)}) > 1
        ]
        names[group] = ", ".join([f"{group.domain}/{group.model}", *extra])
    return names


def _path(path: str) -> str:
    """A path as part of a name: on one line, and not too long."""
    path = printable(path).replace("\n", "\\n")
    return path if len(path) <= _LONGEST else f"…{path[-_LONGEST:]} ({digest(path)[:6]})"


def _mark(runs: list[EndedRun]) -> list[EndedRun]:
    """Set ``not_comparable`` and ``elsewhere`` where they apply.

    The newest run of a group sets the workload version; runs of another version are marked. So
    are runs that saw other batches than the first run of their task: they cannot be paired.
    """
    newest: dict[TaskGroup, EndedRun] = {}
    for run in runs:
        last = newest.get(run.group)
        if last is None or run.result.ended >= last.result.ended:
            newest[run.group] = run
    # Of each group's newest finished run: one that failed may not have got to a device.
    processors = {
        run.group: run.processor
        for run in sorted(runs, key=lambda run: run.result.ended)
        if run.result.status == "finished"
    }
    batches: dict[str, str] = {}
    marked = []
    for run in runs:
        why = run.not_comparable or _difference(run, newest[run.group])
        own = run.result.facts.get("batches", "")
        if not why and run.result.status == "finished":
            first = batches.setdefault(str(run.about["task_identity"]), own)
            why = "" if own == first else "saw other batches than its task's other runs"
        elsewhere = run.processor != processors.get(run.group)
        marked.append(replace(run, not_comparable=why, elsewhere=elsewhere))
    return marked


def _difference(run: EndedRun, reference: EndedRun) -> str:
    for key, what in (
        ("code", "another workload version"),
        ("data", "other data"),
        ("checkpoint", "another pretrained model"),
        ("preset", "another training preset"),
    ):
        own, other = run.about["digests"].get(key), reference.about["digests"].get(key)
        if own != other:
            return f"made by {what} ({own}, not {other})"
    own, other = (each.result.facts.get("device", "") for each in (run, reference))
    if own and other and own != other:  # a failed run has none
        return f"made on another device ({own}, not {other})"
    return ""
