"""Suite file -> validated suite -> runs.

A suite says what to run, never how::

    name: default
    variants: [native, dyt]
    seeds: [0]
    tasks:
      - domain: vision
        models: [vit, convnext]
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from dyt_bench.discovery.datasets import dataset_of, reads_as
from dyt_bench.discovery.domains import Discovery, unknown
from dyt_bench.discovery.extensions import (
    EXECUTORS,
    LOCAL,
    METRICS,
    RECIPES,
    SECTIONS,
    VARIANTS,
    Point,
    variant_names,
)
from dyt_bench.errors import DataError, UserError
from dyt_bench.plugin.domain import Domain, Model
from dyt_bench.plugin.extensions import AddedMetric
from dyt_bench.plugin.files import digest_files
from dyt_bench.plugin.task import NATIVE, Run, Task, Variant, digest
from dyt_bench.suite.quantities import seconds, size

T = TypeVar("T")
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]
Positive = Annotated[int, Field(ge=1)]
_VALIDATIONS = 5  # about so many after the first, unless the suite says otherwise


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VariantOptions(_Strict):
    """One variant; in a suite file a name alone, or a mapping with options."""

    name: str
    alpha_init_value: Annotated[float, Field(gt=0)] | None = None
    recipe: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, given: object) -> object:
        return {"name": given} if isinstance(given, str) else given


class TaskEntry(_Strict):
    """Tasks of one domain: every model with every data set and seed."""

    domain: str
    models: Annotated[list[str], Field(min_length=1)] | None = None  # None: the first
    datasets: Annotated[list[str], Field(min_length=1)] | None = None  # None: the first
    variants: Annotated[list[VariantOptions], Field(min_length=1)] | None = (
        None  # None: the suite's
    )
    path: Path | None = None  # the user's data; relative to the suite file
    steps: Positive | None = None  # this and the rest: None means the model's own
    batch_size: Positive | None = None
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    training: str | None = None
    train_samples: Positive | None = None  # None: all there are
    val_every: Positive | None = None
    expected: dict[str, float] = {}  # variant -> what a paper reports
    expected_metric: str = ""  # of what; "": of the domain's metric
    source: str = ""  # the paper


class SuiteFile(_Strict):
    """What a suite file holds."""

    name: Name
    title: str = ""
    kind: Literal["training", "efficiency"] = "training"
    variants: Annotated[list[VariantOptions], Field(min_length=1)] = [
        VariantOptions(name=NATIVE),
        VariantOptions(name="dyt"),
    ]
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1)] = [0]
    steps: Positive | None = None  # for every task that does not say otherwise
    metrics: list[str] = []  # that packages add, taken at the end of each run
    sections: list[str] = []  # of the report, that packages add
    executor: str = LOCAL  # where runs run
    run_timeout: Annotated[float, BeforeValidator(seconds)] | None = None  # "2h"; None: no limit
    run_memory: Annotated[int, BeforeValidator(size)] | None = None  # "8GiB"; None: no limit
    tasks: Annotated[list[TaskEntry], Field(min_length=1)]


@dataclass(frozen=True)
class Expected:
    """What a paper reports, to be shown beside what is measured."""

    values: Mapping[str, float]  # variant label -> value
    metric: str
    source: str


@dataclass(frozen=True)
class Suite:
    """A validated suite; ``runs`` in the order they run.

    A task's variants stand side by side, and the tasks of a seed before those of the next: cut off
    at any time, there is something to compare.
    """

    name: str
    title: str
    kind: Literal["training", "efficiency"]
    runs: tuple[Run, ...]
    run_timeout: float | None = None  # seconds that one run may take; None: no limit
    run_memory: int | None = None  # bytes that one run may hold; None: no limit
    executor: str = LOCAL  # where runs run, by its name
    sections: tuple[str, ...] = ()  # of the report, that packages add
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
        UserError: the file cannot be read, is no YAML, or holds an unknown key, name or value:
            one sentence with the file, the line, what was expected and the nearest match.
    """
    text = _read(path)
    document = _Document(path, text)
    file = document.validate()
    wanted = set(selection.domains)
    for domain in sorted(wanted - {entry.domain for entry in file.tasks}):
        raise UserError(f"{path}: {unknown('domain', domain, [t.domain for t in file.tasks])}")
    metrics = document.metrics(file)
    document.check_rest(file)
    if selection.executor is not None:
        EXECUTORS.load(selection.executor)
    shared = [
        document.variant(["variants", index], variant)
        for index, variant in enumerate(file.variants)
    ]
    seeds = file.seeds if selection.seeds is None else list(range(selection.seeds))
    runs: list[Run] = []
    entries: list[int] = []  # of each run, its place among the tasks
    expected: dict[str, Expected] = {}
    for index, entry in enumerate(file.tasks):
        if wanted and entry.domain not in wanted:
            continue
        steps = selection.steps or entry.steps or file.steps
        variants = shared
        if entry.variants is not None:
            at: list[str | int] = ["tasks", index, "variants"]
            variants = [
                document.variant([*at, place], variant)
                for place, variant in enumerate(entry.variants)
            ]
        for label in entry.expected:
            where: list[str | int] = ["tasks", index, "expected", label]
            document.check_known(where, "variant", label, [variant.label for variant in variants])
        for task in _expand(document, index, entry, found, seeds, steps, metrics):
            runs += [Run(task=task, variant=variant) for variant in variants]
            entries += [index] * len(variants)
            if entry.expected:
                metric = entry.expected_metric or found.domain(task.domain).metric.name
                expected[task.group] = Expected(entry.expected, metric, entry.source)
    _check_distinct(document, runs, entries, shared, seeds)
    runs.sort(key=lambda run: seeds.index(run.task.seed))  # stable
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


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        suites = sorted(str(file) for file in path.parent.glob("*.yaml"))
        there = f"; there are {', '.join(suites)}" if suites else ""
        raise UserError(f"there is no suite file {path}{there}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the suite file {path}: {error}") from None


class _Document:
    """A parsed suite file that knows the line of everything in it."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        try:
            self.node = yaml.compose(text, Loader=yaml.SafeLoader)
            self.content = yaml.safe_load(text)
        except yaml.MarkedYAMLError as error:
            line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
            raise UserError(f"{path}{line}: not valid YAML: {error.problem}") from None
        except yaml.reader.ReaderError as error:
            number = text.count("\n", 0, error.position) + 1
            found = f"the character {chr(error.character)!r}"
            raise UserError(f"{path}:{number}: not valid YAML: {found} is not allowed") from None
        except (ValueError, AttributeError):  # a tag, or a date, that its value does not fit
            number = _unfit(self.node)
            raise UserError(f"{path}:{number}: not valid YAML: no such value") from None
        if not isinstance(self.content, dict):
            keys = ", ".join(SuiteFile.model_fields)
            what = "is empty" if self.content is None else "is not a mapping"
            raise UserError(f"{path} {what}: a suite has the keys {keys}")
        self._refuse_repeated_keys(self.node)

    def error(self, where: Iterable[str | int], message: str) -> UserError:
        """One sentence: file, line, place, message."""
        where = list(where)
        place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in where).lstrip(".")
        return UserError(f"{self.path}:{self._line(where)}: {place}: {message}")

    def validate(self) -> SuiteFile:
        try:
            return SuiteFile.model_validate(self.content)
        except ValidationError as error:
            # A mistyped key is both unknown and, where required, missing: the typo is the cause.
            first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
            where = list(first["loc"])
            if first["type"] == "extra_forbidden":
                raise self.error(where, unknown("key", where[-1], self._keys(where))) from None
            said = first["msg"].removeprefix("Value error, ")
            message = said[0].lower() + said[1:]
            got = "" if first["type"] == "missing" else f", got {first['input']!r}"
            raise self.error(where, f"{message}{got}") from None

    def variant(self, where: list[str | int], options: VariantOptions) -> Variant:
        self.check_known(where, "variant", options.name, variant_names())
        variant = Variant(**options.model_dump(), code_digest=self._code_digest(where, options))
        if variant.recipe is not None and self.content.get("kind") == "efficiency":
            raise self.error([*where, "recipe"], "an efficiency suite swaps layers, no recipe fits")
        if variant.is_native and variant != Variant():
            raise self.error(where, "the native norm takes no options")
        if variant.recipe is not None:
            self.check_known([*where, "recipe"], "recipe", variant.recipe, RECIPES.names())
            if variant.alpha_init_value is not None:
                raise self.error(where, "give alpha_init_value or recipe: both choose alpha")
        return variant

    def metrics(self, file: SuiteFile) -> dict[str, AddedMetric]:
        """Name -> metric, of those that the suite names; each is for some of its domains."""
        domains = {entry.domain for entry in file.tasks}
        found: dict[str, AddedMetric] = {}
        for index, name in enumerate(file.metrics):
            metric = found[name] = self._load(["metrics", index], METRICS, name)
            if metric.domains and not domains & set(metric.domains):
                only = ", ".join(metric.domains)
                raise self.error(
                    ["metrics", index], f"{name!r} is for {only}, which the suite does not have"
                )
        return found

    def check_rest(self, file: SuiteFile) -> None:
        """That sections and executor are there and whole, and are of use."""
        for index, name in enumerate(file.sections):
            self._load(["sections", index], SECTIONS, name)
        self._load(["executor"], EXECUTORS, file.executor)
        for key, names in (("metrics", file.metrics), ("sections", file.sections)):
            if names and file.kind == "efficiency":
                raise self.error([key], f"an efficiency suite trains nothing: it takes no {key}")
            again = next((i for i, name in enumerate(names) if name in names[:i]), None)
            if again is not None:
                raise self.error([key, again], f"{names[again]!r} is listed twice")

    def _load(self, where: list[str | int], point: Point[T], name: str) -> T:
        try:
            return point.load(name)
        except UserError as error:
            raise self.error(where, str(error)) from None

    def _code_digest(self, where: list[str | int], options: VariantOptions) -> str:
        """Of the variant and the recipe, where packages add them; neither is imported."""
        named: list[tuple[Point[Any], list[str | int], str | None]] = [
            (VARIANTS, where, options.name),
            (RECIPES, [*where, "recipe"], options.recipe),
        ]
        found = []
        for point, place, name in named:
            if name not in (None, NATIVE) and name in point.names():
                try:
                    point.find(name)
                except UserError as error:
                    raise self.error(place, str(error)) from None
                found.append(point.code_digest(name))
        return digest(*found) if any(found) else ""

    def check_known(
        self, where: list[str | int], kind: str, name: str, known: Iterable[str]
    ) -> None:
        if name not in (known := list(known)):
            raise self.error(where, unknown(kind, name, known))

    def _keys(self, where: list[str | int]) -> list[str]:
        level: type[_Strict] = SuiteFile
        if "variants" in where:
            level = VariantOptions
        elif where[0] == "tasks":
            level = TaskEntry
        return list(level.model_fields)

    def _line(self, where: list[str | int]) -> int:
        """The line of the deepest place in ``where`` that exists, counted from 1."""
        node, line = self.node, 1
        for part in where:
            if isinstance(node, yaml.MappingNode):
                pair = next((p for p in node.value if p[0].value == part), None)
                if pair is None:
                    break
                line, node = pair[0].start_mark.line + 1, pair[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                node = node.value[part]
                line = node.start_mark.line + 1
        return line

    def _refuse_repeated_keys(self, node: yaml.Node | None) -> None:
        """YAML would silently keep the last of two equal keys."""
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                self._refuse_repeated_keys(item)
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise UserError(f"{self.path}:{line}: key {key.value!r} is given twice")
                seen.add(key.value)
                self._refuse_repeated_keys(value)


def _unfit(node: yaml.Node | None) -> int:
    """The line of the scalar that cannot be made into a value, counted from 1."""
    for part in _scalars(node):
        try:
            yaml.SafeLoader("").construct_object(part)
        except (ValueError, AttributeError):
            return int(part.start_mark.line) + 1
    return 1


def _scalars(node: yaml.Node | None) -> Iterable[yaml.Node]:
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _scalars(item)
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            for item in pair:
                yield from _scalars(item)


def _expand(
    document: _Document,
    index: int,
    entry: TaskEntry,
    found: Discovery,
    seeds: list[int],
    steps: int | None,
    metrics: Mapping[str, AddedMetric],
) -> Iterable[Task]:
    """The entry's tasks: model by model, data set by data set, seed by seed."""
    at: list[str | int] = ["tasks", index]
    try:
        domain = found.domain(entry.domain)
    except UserError as error:
        raise document.error([*at, "domain"], str(error)) from None
    for m, model_name in enumerate(entry.models or [next(iter(domain.models))]):
        document.check_known([*at, "models", m], "model", model_name, domain.models)
        model = domain.models[model_name]
        training = entry.training or model.training
        document.check_known([*at, "training"], "training recipe", training, domain.trainings)
        for d, dataset_name in enumerate(entry.datasets or [next(iter(domain.datasets))]):
            where = [*at, "datasets", d] if entry.datasets else at
            path, data_digest = _data(document, where, entry, domain, dataset_name)
            task_steps = steps or model.steps
            val_every = entry.val_every or default_val_every(task_steps)
            if task_steps % val_every:
                raise document.error(
                    [*at, "val_every"],
                    f"must divide steps, so that the last step is validated: "
                    f"{task_steps} steps, val_every {val_every}",
                )
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
                    training=training,
                    train_samples=entry.train_samples,
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
    """A hash of what the task takes from the domain's catalogue, but for what it says to people."""
    preset = asdict(domain.training(task))
    return digest(
        {key: value for key, value in preset.items() if key not in ("summary", "source")},
        domain.models[task.model].exclude,
    )


def _overrides(entry: TaskEntry, model: Model) -> str:
    """What the entry chose otherwise than the model: two entries of one model differ in it."""
    chosen = {
        "lr": (entry.learning_rate, model.learning_rate),
        "batch": (entry.batch_size, model.batch_size),
        "training": (entry.training, model.training),
        "n": (entry.train_samples, None),
    }
    return " ".join(
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
        for key, (value, default) in chosen.items()
        if value is not None and value != default
    )


def default_val_every(steps: int) -> int:
    """The smallest divisor of ``steps`` that gives at most five validations after the first."""
    return next(n for n in range(1, steps + 1) if steps % n == 0 and steps // n <= _VALIDATIONS)


def _data(
    document: _Document, where: list[str | int], entry: TaskEntry, domain: Domain, name: str
) -> tuple[Path | None, str]:
    try:
        dataset = dataset_of(domain, name)
    except UserError as error:
        raise document.error(where, str(error)) from None
    path = None if entry.path is None else (document.path.parent / entry.path).resolve()
    if path is not None and not dataset.takes_path:
        raise document.error(["tasks", where[1], "path"], f"data set {name!r} takes no path")
    try:
        content = digest_files(list(dataset.files(path)))
    except DataError as error:
        raise document.error(where, f"data set {name!r}: {error}") from None
    layout = reads_as(domain, name)
    return path, content if layout == name else digest(layout, content)


def _check_distinct(
    document: _Document,
    runs: list[Run],
    entries: list[int],
    variants: list[Variant],
    seeds: list[int],
) -> None:
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
