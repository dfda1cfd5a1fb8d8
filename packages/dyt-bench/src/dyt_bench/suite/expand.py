"""Suite file -> tasks × variants = runs.

A suite says what to run, never how::

    name: default
    variants: [native, dyt]
    seeds: [0]
    tasks:
      - domain: vision
        models: [vit, convnext]
"""

from collections.abc import (
    Callable,
    Collection,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from dyt_bench.discovery.datasets import content_digest, dataset_of
from dyt_bench.discovery.domains import Discovery
from dyt_bench.discovery.extensions import EXECUTORS, LOCAL, METRICS
from dyt_bench.errors import DataError, UserError, listed, quoted, shortened
from dyt_bench.executors.slots import devices as devices_here
from dyt_bench.plugin.domain import Domain, Model
from dyt_bench.plugin.extensions import AddedMetric
from dyt_bench.plugin.files import digest_files
from dyt_bench.plugin.task import Run, Task, Variant, digest
from dyt_bench.suite.document import MOST_CHARACTERS, Document, Place
from dyt_bench.suite.executors import checked_options
from dyt_bench.suite.names import (
    check_known,
    check_sections_and_executor,
    resolve_metrics,
    resolve_variants,
)
from dyt_bench.suite.narrow import narrowed
from dyt_bench.suite.quantities import MOST_COUNT
from dyt_bench.suite.rates import at_tuned_rates, check_tuning, plan_trials
from dyt_bench.suite.schema import SuiteFile, TaskEntry, validate
from dyt_bench.suite.shipped import base_of, shipped
from dyt_bench.suite.shrink import shrunk
from dyt_bench.suite.tuning import Tuned, longer
from dyt_bench.suite.values import located

# Fields of a `Model` that a task has, or that decide nothing.
_IN_THE_TASK = {"summary", "library", "native_norm", "steps", "batch_size", "learning_rate"}
_IN_THE_TASK |= {"training", "step_s", "reference_steps", "checkpoint", "small"}
_IN_THE_TASK |= {"strategies"}
_VALIDATIONS = 5  # at most so many after the first, unless the suite says otherwise
MOST_RUNS = 20_000  # of a suite: to plan so many takes some ten seconds


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
    compile: bool = False  # whether steps are timed under torch.compile, too
    executor: str = LOCAL  # where runs run, by its name
    executor_options: Mapping[str, Any] = field(default_factory=dict)
    sections: tuple[str, ...] = ()  # of the report, added by packages
    # "domain/model/dataset" -> what a paper reports there
    expected: Mapping[str, Expected] = field(default_factory=dict)
    learning: frozenset[str] = frozenset()  # `Task.budget`s that do not bring native to its plateau
    tunings: tuple[Tuned, ...] = ()  # their trials are among the runs; what they choose is not
    shrunk: tuple[str, ...] = ()  # what --shrink made smaller, a sentence each

    @cached_property
    def by_task(self) -> Mapping[Task, Sequence[Run]]:
        """Each task's runs."""
        found: dict[Task, list[Run]] = {}
        for run in self.runs:
            found.setdefault(run.task, []).append(run)
        return found

    @property
    def tasks(self) -> list[Task]:
        return list(self.by_task)

    def variants_of(self, task: Task) -> list[Variant]:
        return [run.variant for run in self.by_task.get(task, ())]


@dataclass(frozen=True)
class Selection:
    """What a command line narrows or changes of a suite; None leaves it as the file says."""

    domains: tuple[str, ...] = ()  # empty: all
    seeds: int | None = None  # 0, 1, ... in place of the suite's
    steps: int | None = None  # for every task
    models: tuple[str, ...] = ()  # empty: all
    variants: tuple[str, ...] = ()  # labels; empty: all. The baseline is always kept
    run_timeout: float | None = None  # seconds
    run_memory: int | None = None  # bytes
    executor: str | None = None
    shrink: bool = False  # to what can be tried here


def load_suite(
    path: Path,
    found: Discovery,
    selection: Selection = Selection(),
    *,
    contents: Contents = content_digest,
) -> Suite:
    """Read, validate and expand the suite file at ``path``.

    Args:
        contents: the digest of a data set's files.

    Raises:
        UserError: the file cannot be read, is not valid YAML, or holds an unknown key, name or
            value: one sentence with the file, the line, what was expected and the nearest match.
    """
    if selection.shrink:  # its mistakes are told as they stand
        load_suite(path, found, replace(selection, shrink=False), contents=without_data)
    document = Document(path, _read(path))
    file = validate(document)
    file, narrow = narrowed(
        path,
        file,
        found,
        domains=selection.domains,
        models=selection.models,
        variants=selection.variants,
    )
    chosen, said = list(narrow.items()), list[str]()
    if selection.shrink:
        here = (selection.executor or file.executor.name) == LOCAL
        most = devices_here() if here else MOST_COUNT
        nodes = 1 if here else MOST_COUNT
        file, chosen, said = shrunk(file, chosen, found, devices=most, nodes=nodes)
    metrics = resolve_metrics(document, file)
    check_sections_and_executor(document, file)
    if selection.executor is not None:
        EXECUTORS.load(selection.executor)
    shared = resolve_variants(document, ["variants"], file.variants)
    _check_size(document, file, selection.seeds)
    contents = cache(contents)  # several entries may have one data set
    runs: list[Run] = []
    entries: list[int] = []  # the place of each run's entry among the tasks
    tunings: list[Tuned] = []
    expected: dict[str, Expected] = {}
    learning: set[str] = set()
    place: dict[int, int] = {}  # seed -> its place in the order
    for index, entry in chosen:
        variants = _variants(document, index, entry, shared)
        steps = selection.steps or entry.steps or file.steps
        seeds = _seeds(document, index, file, entry, selection.seeds)
        for seed in seeds:
            place.setdefault(seed, len(place))
        together = _together(file, entry)
        tasks = [
            replace(task, **together)
            for task in _tasks(document, index, entry, found, seeds, steps, metrics, contents)
        ]
        for task in tasks:
            _check_divided(document, index, task)
            _check_strategy(document, index, task, found.domain(task.domain))
        _check_plateau(document, index, entry, file, variants)
        if entry.tuning is None:
            new = [Run(task=task, variant=variant) for task in tasks for variant in variants]
            if entry.plateau == "measured":
                new += _longer(tasks)
        else:
            check_tuning(document, index, entry, variants, seeds)
            own = plan_trials(tasks, variants, entry, found)
            tunings += own
            new = [run for tuning in own for run in tuning.trials]
        runs += new
        entries += [index] * len(new)
        for task in tasks if entry.expected else ():
            metric = entry.expected_metric or found.domain(task.domain).metric.name
            expected[task.subject] = Expected(entry.expected, metric, entry.source)
        if entry.plateau == "missed" and selection.steps is None:  # of its own steps it is known
            learning.update(task.budget for task in tasks)
    if selection.shrink:  # what differed by its size alone is one
        runs, tunings = list(dict.fromkeys(runs)), list(dict.fromkeys(tunings))
    else:
        _check_distinct(document, runs, entries, shared)
    runs.sort(key=lambda run: place.get(run.task.seed, -1))  # stable; trials first
    suite = _suite(file, selection, runs, expected, learning, tunings)
    return replace(suite, shrunk=tuple(said))


def without_data(domain: Domain, name: str, path: Path | None) -> str:
    """No digest: for what is not run, so that its data need not be there."""
    return ""


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(MOST_CHARACTERS + 1)  # `Document` refuses more
    except FileNotFoundError:
        suites = sorted(path.parent.glob("*.yaml"))
        there = f"; there are {listed(suites)}" if suites else ""
        named = f"{there}; suites that need no file are {', '.join(shipped())}"
        raise UserError(f"there is no suite file {path}{named}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot read the suite file {shortened(str(path))}: {reason}") from None


def _suite(
    file: SuiteFile,
    selection: Selection,
    runs: list[Run],
    expected: Mapping[str, Expected],
    learning: Collection[str],
    tunings: Sequence[Tuned],
) -> Suite:
    name = selection.executor or file.executor.name
    options = file.executor.options if name == file.executor.name else {}
    return Suite(
        file.name,
        file.title or file.name,
        file.kind,
        tuple(runs),
        run_timeout=selection.run_timeout or file.run_timeout,
        run_memory=selection.run_memory or file.run_memory,
        compile=file.compile,
        executor=name,
        executor_options=checked_options(name, options),
        sections=tuple(file.sections),
        expected=expected,
        learning=frozenset(learning),
        tunings=tuple(tunings),
    )


def _variants(
    document: Document, index: int, entry: TaskEntry, shared: list[Variant]
) -> list[Variant]:
    """The entry's own variants, or the suite's; its expected values name some of them."""
    variants = shared
    if entry.variants is not None:
        variants = resolve_variants(document, ["tasks", index, "variants"], entry.variants)
    variants = at_tuned_rates(document, index, entry, variants)
    for label in entry.expected:
        where: Place = ["tasks", index, "expected", label]
        check_known(document, where, "variant", label, [variant.label for variant in variants])
    return variants


def _tasks(
    document: Document,
    index: int,
    entry: TaskEntry,
    found: Discovery,
    seeds: Sequence[int],
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
    code_digest = found.code_digest(domain.name)
    added = tuple(
        (name, METRICS.code_digest(name))
        for name, metric in metrics.items()
        if not metric.domains or domain.name in metric.domains
    )
    for m, model_name in enumerate(entry.models or [next(iter(domain.models))]):
        check_known(document, [*at, "models", m], "model", model_name, domain.models)
        model = domain.models[model_name]
        checkpoint, checkpoint_digest = _checkpoint(document, at, entry, model_name, model)
        training = entry.training or model.training
        check_known(document, [*at, "training"], "training preset", training, domain.trainings)
        task_steps = steps or model.steps
        for d, dataset_name in enumerate(entry.datasets or [next(iter(domain.datasets))]):
            where = [*at, "datasets", d] if entry.datasets else at
            path, data_digest = _data(document, where, entry, domain, dataset_name, contents)
            options = _options(document, at, entry, domain, dataset_name, path)
            val_every = _val_every(document, at, entry, task_steps)
            preset, digested = None, ""
            for seed in seeds:
                task = Task(
                    domain=domain.name,
                    model=model_name,
                    dataset=dataset_name,
                    checkpoint=checkpoint,
                    path=path,
                    options=options,
                    seed=seed,
                    steps=task_steps,
                    batch_size=entry.batch_size or model.batch_size,
                    learning_rate=entry.learning_rate or model.learning_rate,
                    optimizer=entry.optimizer,
                    training=training,
                    train_samples=entry.train_samples,
                    skip_bad_files=entry.skip_bad_files,
                    split=entry.split,
                    overrides=_overrides(entry, model),
                    metrics=added,
                    val_every=val_every,
                    checkpoint_digest=checkpoint_digest,
                    data_digest=data_digest,
                    code_digest=code_digest,
                )
                if (found_preset := domain.training(task)) != preset:
                    preset, digested = found_preset, preset_digest(domain, task)
                yield replace(task, preset_digest=digested)


def _seeds(
    document: Document, index: int, file: SuiteFile, entry: TaskEntry, first: int | None
) -> Sequence[int]:
    """The first so many, where the command line says so; the entry's own, or the suite's."""
    if first is not None:
        return range(first)
    seeds = file.seeds
    where: list[str | int] = ["seeds"]
    if entry.seeds is not None:
        seeds, where = entry.seeds, ["tasks", index, "seeds"]
    again = repeated(seeds)
    if again is not None:
        raise document.error([*where, again], f"the seed {seeds[again]} is listed twice")
    return seeds


def _check_plateau(
    document: Document,
    index: int,
    entry: TaskEntry,
    file: SuiteFile,
    variants: Sequence[Variant],
) -> None:
    """Raise UserError if the entry asks for a plateau that no run can show."""
    if entry.plateau is None:
        return
    where: list[str | int] = ["tasks", index, "plateau"]
    if file.kind == "efficiency":
        raise document.error(where, "an efficiency suite trains nothing: leave it out")
    if not any(variant.is_native for variant in variants):
        raise document.error(where, "it is native's, which is not among the variants: add native")


def _longer(tasks: Sequence[Task]) -> list[Run]:
    """Native's runs with twice the steps, for each model and data set."""
    subjects = dict.fromkeys(task.subject for task in tasks)
    return [
        run for name in subjects for run in longer([task for task in tasks if task.subject == name])
    ]


def _together(file: SuiteFile, entry: TaskEntry) -> dict[str, Any]:
    """How several devices train a run together: the entry's own choices, or the suite's."""
    names = ("devices", "nodes", "strategy", "micro_batch")
    own = {name: getattr(entry, name) for name in names}
    return {name: getattr(file, name) if own[name] is None else own[name] for name in names}


def _check_divided(document: Document, index: int, task: Task) -> None:
    """Raise UserError if devices and micro-batches cannot have equal parts of a batch."""
    micro = task.micro_batch if isinstance(task.micro_batch, int) else 1
    if task.batch_size % (task.processes * micro) == 0:
        return
    key = "devices" if task.batch_size % task.processes else "micro_batch"
    among = f"{task.processes} devices" if task.processes > 1 else "one device"
    parts = f" in micro-batches of {micro}" if key == "micro_batch" else ""
    raise document.error(
        ["tasks", index, key],
        f"a batch of {task.batch_size} cannot be divided among {among}{parts}: expected a "
        f"batch_size that is a multiple of {task.processes * micro}",
    )


def _check_strategy(document: Document, index: int, task: Task, domain: Domain) -> None:
    """Raise UserError if the model cannot be trained that way."""
    if task.strategy == "ddp":
        return
    where: list[str | int] = ["tasks", index, "strategy"]
    takes = domain.models[task.model].strategies
    if task.strategy not in takes:
        raise document.error(
            where,
            f"model {quoted(task.model)} does not take {task.strategy}: expected "
            f"{' or '.join(takes)}",
        )
    if domain.training(task).ema_decay is not None:
        raise document.error(
            where, f"the preset {quoted(task.training)} averages weights, which fsdp2 does not"
        )
    if task.optimizer == "muon":
        raise document.error(
            where, "Muon turns whole matrices, of which fsdp2 holds parts: take optimizer: adamw"
        )
    if task.micro_batch == "auto":
        raise document.error(
            where, "micro_batch: auto tries a step in each process alone: give a number"
        )


def preset_digest(domain: Domain, task: Task) -> str:
    """A hash of what the task takes from the domain's catalogue, without descriptions.

    Of the model it holds what the task does not: exclusions, and fields that a domain adds.
    """
    preset, model = asdict(domain.training(task)), asdict(domain.models[task.model])
    return digest(
        {key: value for key, value in preset.items() if key not in ("summary", "source", "small")},
        {key: value for key, value in model.items() if key not in _IN_THE_TASK},
    )


def _overrides(entry: TaskEntry, model: Model) -> str:
    """What the entry chose otherwise than the model: two entries of one model differ in it."""
    chosen = {
        "lr": (entry.learning_rate, model.learning_rate),
        "batch": (entry.batch_size, model.batch_size),
        "optimizer": (entry.optimizer, "adamw"),
        "training": (entry.training, model.training),
        "n": (entry.train_samples, None),
        "skip_bad_files": ("yes" if entry.skip_bad_files else None, None),
        "devices": (entry.devices, 1),
        "nodes": (entry.nodes, 1),
        "strategy": (entry.strategy, "ddp"),
        "micro": (entry.micro_batch, None),
    }
    return " ".join(
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
        for key, (value, default) in chosen.items()
        if value is not None and value != default
    )


def default_val_every(steps: int) -> int:
    """The smallest divisor of ``steps`` that gives at most five validations after the first."""
    return steps // next(n for n in range(_VALIDATIONS, 0, -1) if steps % n == 0)


def _val_every(document: Document, at: Place, entry: TaskEntry, steps: int) -> int:
    val_every = entry.val_every or default_val_every(steps)
    if steps % val_every:
        raise document.error(
            [*at, "val_every"],
            f"must divide steps, so that the last step is validated: "
            f"{steps} steps, val_every {val_every}",
        )
    return val_every


def _options(
    document: Document, at: Place, entry: TaskEntry, domain: Domain, name: str, path: Path | None
) -> tuple[tuple[str, str], ...]:
    """The data set's options, each one that it has, with a value that it can have."""
    dataset, where = dataset_of(domain, name), [*at, "options"]
    for key in entry.options:
        check_known(document, [*where, key], f"option of {quoted(name)}", key, dataset.options)
    options = {key: str(value) for key, value in sorted(entry.options.items())}
    if dataset.check_options is not None:
        with _reading(document, where, f"data set {quoted(name)}"):
            dataset.check_options(path, options)
    return tuple(options.items())


def _checkpoint(
    document: Document, at: Place, entry: TaskEntry, name: str, model: Model
) -> tuple[Path | None, str]:
    """The user's checkpoint, if the entry gives one, and the digest of the model's start."""
    where = [*at, "checkpoint"] if entry.checkpoint is not None else at
    if model.checkpoint is None:
        if entry.checkpoint is not None:
            raise document.error(where, f"model {quoted(name)} takes no checkpoint")
        return None, ""
    path = None if entry.checkpoint is None else _located(document, where, entry.checkpoint)
    with _reading(document, where, f"model {quoted(name)}"):
        return path, digest_files(model.checkpoint(path), path)


def _located(document: Document, where: Place, given: str) -> Path:
    try:
        return located(given, base_of(document.path))
    except ValueError as error:
        raise document.error(where, str(error)) from None


@contextmanager
def _reading(document: Document, where: Place, what: str) -> Iterator[None]:
    """Within it, what is wrong with the user's files is an error of the suite."""
    try:
        yield
    except DataError as error:
        raise document.error(where, f"{what}: {error}") from None
    except OSError as error:
        said = f"cannot read {shortened(str(error.filename))}: {error.strerror}"
        raise document.error(where, f"{what}: {said}") from None


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
    path, at_path = None, [*where[:2], "path"]
    if entry.path is not None:
        if not dataset.takes_path:
            raise document.error(at_path, f"data set {quoted(name)} takes no path")
        path = _located(document, at_path, entry.path)
    with _reading(document, where, f"data set {quoted(name)}"):
        return path, contents(domain, name, path)


def _check_distinct(
    document: Document,
    runs: list[Run],
    entries: list[int],
    variants: Sequence[Variant],
) -> None:
    """Raise UserError if a run is listed twice; names the repeated variant or entry."""
    seen: set[Hashable] = set()
    for run, entry in zip(runs, entries, strict=True):
        identity = run.task.identity, run.task.metrics, run.variant  # as in `Run.identity`
        if identity in seen:
            where: list[str | int] = ["tasks", entry]
            if (again := repeated(variants)) is not None:
                where = ["variants", again]
            raise document.error(where, f"the run {run.label} is listed twice")
        seen.add(identity)


def repeated(values: Iterable[Hashable]) -> int | None:
    """The index of the first value that stands before it as well; None if there is none."""
    seen: set[Hashable] = set()
    for index, value in enumerate(values):
        if value in seen:
            return index
        seen.add(value)
    return None


def _check_size(document: Document, file: SuiteFile, seeds: int | None) -> None:
    """Raise UserError if the suite has more runs than can be planned."""
    runs = sum(
        len(entry.models or [0])
        * len(entry.datasets or [0])
        * len(file.variants if entry.variants is None else entry.variants)
        * (seeds or len(entry.seeds or file.seeds))
        for entry in file.tasks
    )
    if runs > MOST_RUNS:
        raise UserError(
            f"{document.path} has {runs:,} runs, and a suite may have {MOST_RUNS:,}: take fewer "
            "seeds, or divide it into several suites"
        )
