"""Suite file -> tasks × variants = runs.

A suite says what to run, never how::

    name: default
    variants: [native, dyt]
    seeds: [0]
    tasks:
      - domain: vision
        models: [vit, convnext]
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal

from dyt_bench.discovery.datasets import content_digest, dataset_of
from dyt_bench.discovery.domains import Discovery, unknown
from dyt_bench.discovery.extensions import EXECUTORS, LOCAL, METRICS
from dyt_bench.errors import DataError, UserError
from dyt_bench.plugin.domain import Domain, Model
from dyt_bench.plugin.extensions import AddedMetric
from dyt_bench.plugin.task import Run, Task, Variant, digest
from dyt_bench.suite.document import Document, Place
from dyt_bench.suite.names import (
    check_known,
    check_sections_and_executor,
    resolve_metrics,
    resolve_variants,
)
from dyt_bench.suite.schema import SuiteFile, TaskEntry, validate

# Fields of a `Model` that a task has, or that decide nothing.
_IN_THE_TASK = {"summary", "library", "native_norm", "steps", "batch_size", "learning_rate"}
_IN_THE_TASK |= {"training", "step_s", "reference_steps"}
_VALIDATIONS = 5  # at most so many after the first, unless the suite says otherwise


Contents = Callable[[Domain, str, Path | None], str]  # `content_digest`, computed once for each


@dataclass(frozen=True)
class Expected:
    """What a paper reports, to be shown beside what is measured."""

    values: Mapping[str, float]  # variant label -> value
    metric: str
    source: str


@dataclass(frozen=True)
class Suite:
    """A validated suite; ``runs`` in the order they run.

    A task's variants follow one another, and the tasks of a seed come before those of the next:
    a suite that is cut off at any time has something to compare.
    """

    name: str
    title: str
    kind: Literal["training", "efficiency"]
    runs: tuple[Run, ...]
    run_timeout: float | None = None  # seconds that one run may take; None: no limit
    run_memory: int | None = None  # bytes that one run may hold; None: no limit
    executor: str = LOCAL  # where runs run, by its name
    sections: tuple[str, ...] = ()  # of the report, added by packages
    # "domain/model/dataset" -> what a paper reports there
    expected: Mapping[str, Expected] = field(default_factory=dict)

    @property
    def tasks(self) -> list[Task]:
        return list(dict.fromkeys(run.task for run in self.runs))

    def variants_of(self, task: Task) -> list[Variant]:
        return [run.variant for run in self.runs if run.task == task]


@dataclass(frozen=True)
class Selection:
    """What a command line narrows or changes of a suite; None leaves it as the file says."""

    domains: tuple[str, ...] = ()  # empty: all
    seeds: int | None = None  # 0, 1, ... in place of the suite's
    steps: int | None = None  # for every task
    run_timeout: float | None = None  # seconds
    run_memory: int | None = None  # bytes
    executor: str | None = None


def load_suite(path: Path, found: Discovery, selection: Selection = Selection()) -> Suite:
    """Read, validate and expand the suite file at ``path``.

    Raises:
        UserError: the file cannot be read, is not valid YAML, or holds an unknown key, name or
            value: one sentence with the file, the line, what was expected and the nearest match.
    """
    document = Document(path, _read(path))
    file = validate(document)
    wanted = set(selection.domains)
    for domain in sorted(wanted - {entry.domain for entry in file.tasks}):
        raise UserError(f"{path}: {unknown('domain', domain, [t.domain for t in file.tasks])}")
    metrics = resolve_metrics(document, file)
    check_sections_and_executor(document, file)
    if selection.executor is not None:
        EXECUTORS.load(selection.executor)
    shared = resolve_variants(document, ["variants"], file.variants)
    seeds = file.seeds if selection.seeds is None else list(range(selection.seeds))
    contents = cache(content_digest)  # several entries may have one data set
    runs: list[Run] = []
    entries: list[int] = []  # the place of each run's entry among the tasks
    expected: dict[str, Expected] = {}
    for index, entry in enumerate(file.tasks):
        if wanted and entry.domain not in wanted:
            continue
        variants = _variants(document, index, entry, shared)
        steps = selection.steps or entry.steps or file.steps
        for task in _tasks(document, index, entry, found, seeds, steps, metrics, contents):
            runs += [Run(task=task, variant=variant) for variant in variants]
            entries += [index] * len(variants)
            if entry.expected:
                metric = entry.expected_metric or found.domain(task.domain).metric.name
                expected[task.group] = Expected(entry.expected, metric, entry.source)
    _check_distinct(document, runs, entries, shared, seeds)
    runs.sort(key=lambda run: seeds.index(run.task.seed))  # stable
    return _suite(file, selection, runs, expected)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        suites = sorted(str(file) for file in path.parent.glob("*.yaml"))
        there = f"; there are {', '.join(suites)}" if suites else ""
        raise UserError(f"there is no suite file {path}{there}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the suite file {path}: {error}") from None


def _suite(
    file: SuiteFile, selection: Selection, runs: list[Run], expected: Mapping[str, Expected]
) -> Suite:
    return Suite(
        file.name,
        file.title or file.name,
        file.kind,
        tuple(runs),
        run_timeout=selection.run_timeout or file.run_timeout,
        run_memory=selection.run_memory or file.run_memory,
        executor=selection.executor or file.executor,
        sections=tuple(file.sections),
        expected=expected,
    )


def _variants(
    document: Document, index: int, entry: TaskEntry, shared: list[Variant]
) -> list[Variant]:
    """The entry's own variants, or the suite's; its expected values name some of them."""
    variants = shared
    if entry.variants is not None:
        variants = resolve_variants(document, ["tasks", index, "variants"], entry.variants)
    for label in entry.expected:
        where: Place = ["tasks", index, "expected", label]
        check_known(document, where, "variant", label, [variant.label for variant in variants])
    return variants


def _tasks(
    document: Document,
    index: int,
    entry: TaskEntry,
    found: Discovery,
    seeds: list[int],
    steps: int | None,
    metrics: Mapping[str, AddedMetric],
    contents: Contents,
) -> Iterable[Task]:
    """The entry's tasks: model by model, data set by data set, seed by seed."""
    at: list[str | int] = ["tasks", index]
    try:
        domain = found.domain(entry.domain)
    except UserError as error:
        raise document.error([*at, "domain"], str(error)) from None
    for m, model_name in enumerate(entry.models or [next(iter(domain.models))]):
        check_known(document, [*at, "models", m], "model", model_name, domain.models)
        model = domain.models[model_name]
        preset = entry.training or model.training
        check_known(document, [*at, "training"], "training preset", preset, domain.trainings)
        task_steps = steps or model.steps
        for d, dataset_name in enumerate(entry.datasets or [next(iter(domain.datasets))]):
            where = [*at, "datasets", d] if entry.datasets else at
            path, data_digest = _data(document, where, entry, domain, dataset_name, contents)
            val_every = _val_every(document, at, entry, task_steps)
            for seed in seeds:
                task = Task(
                    domain=domain.name,
                    model=model_name,
                    dataset=dataset_name,
                    path=path,
                    seed=seed,
                    steps=task_steps,
                    batch_size=entry.batch_size or model.batch_size,
                    learning_rate=entry.learning_rate or model.learning_rate,
                    training=preset,
                    train_samples=entry.train_samples,
                    skip_bad_files=entry.skip_bad_files,
                    overrides=_overrides(entry, model),
                    metrics=tuple(
                        (name, METRICS.code_digest(name))
                        for name, metric in metrics.items()
                        if not metric.domains or domain.name in metric.domains
                    ),
                    val_every=val_every,
                    data_digest=data_digest,
                    code_digest=found.code_digest(domain.name),
                )
                yield replace(task, preset_digest=preset_digest(domain, task))


def preset_digest(domain: Domain, task: Task) -> str:
    """A hash of what the task takes from the domain's catalogue, without descriptions.

    Of the model it holds what the task does not: exclusions, and fields that a domain adds.
    """
    preset, model = asdict(domain.training(task)), asdict(domain.models[task.model])
    return digest(
        {key: value for key, value in preset.items() if key not in ("summary", "source")},
        {key: value for key, value in model.items() if key not in _IN_THE_TASK},
    )


def _overrides(entry: TaskEntry, model: Model) -> str:
    """What the entry chose otherwise than the model: two entries of one model differ in it."""
    chosen = {
        "lr": (entry.learning_rate, model.learning_rate),
        "batch": (entry.batch_size, model.batch_size),
        "training": (entry.training, model.training),
        "n": (entry.train_samples, None),
        "skip_bad_files": ("yes" if entry.skip_bad_files else None, None),
    }
    return " ".join(
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
        for key, (value, default) in chosen.items()
        if value is not None and value != default
    )


def default_val_every(steps: int) -> int:
    """The smallest divisor of ``steps`` that gives at most five validations after the first."""
    return next(n for n in range(1, steps + 1) if steps % n == 0 and steps // n <= _VALIDATIONS)


def _val_every(document: Document, at: Place, entry: TaskEntry, steps: int) -> int:
    val_every = entry.val_every or default_val_every(steps)
    if steps % val_every:
        raise document.error(
            [*at, "val_every"],
            f"must divide steps, so that the last step is validated: "
            f"{steps} steps, val_every {val_every}",
        )
    return val_every


def _data(
    document: Document,
    where: Place,
    entry: TaskEntry,
    domain: Domain,
    name: str,
    contents: Contents,
) -> tuple[Path | None, str]:
    """The user's path, if the entry gives one, and the digest of the data set's files."""
    try:
        dataset = dataset_of(domain, name)
    except UserError as error:
        raise document.error(where, str(error)) from None
    path = None if entry.path is None else _user_path(document, [*where[:2], "path"], entry.path)
    if path is not None and not dataset.takes_path:
        raise document.error([*where[:2], "path"], f"data set {name!r} takes no path")
    try:
        return path, contents(domain, name, path)
    except DataError as error:
        raise document.error(where, f"data set {name!r}: {error}") from None
    except OSError as error:
        said = f"cannot read {error.filename}: {error.strerror}"
        raise document.error(where, f"data set {name!r}: {said}") from None


def _user_path(document: Document, where: Place, given: Path) -> Path:
    """The path relative to the suite file, with ``~`` and ``$NAME`` as a shell reads them."""
    if "\0" in str(given):
        raise document.error(where, f"{str(given)!r} holds a NUL, which no path can")
    expanded = os.path.expandvars(os.path.expanduser(given))
    return (document.path.parent / expanded).resolve()


def _check_distinct(
    document: Document,
    runs: list[Run],
    entries: list[int],
    variants: list[Variant],
    seeds: list[int],
) -> None:
    """Raise UserError if a run is listed twice; names the repeated variant, seed or entry."""
    seen: set[str] = set()
    for run, entry in zip(runs, entries, strict=True):
        if run.identity in seen:
            where: list[str | int] = ["tasks", entry]
            for name, values in (("variants", variants), ("seeds", seeds)):
                again = [i for i, value in enumerate(values) if value in values[:i]]
                if again:
                    where = [name, again[0]]
            raise document.error(where, f"the run {run.label} is listed twice")
        seen.add(run.identity)
