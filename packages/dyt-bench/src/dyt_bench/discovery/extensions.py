"""Entry points -> variants, recipes, data sets, metrics, sections, executors and mirrors.

All kinds share one mechanism. Names are listed without importing anything; an object is imported
and checked when it is asked for. A broken one is reported in a sentence with the distribution it
comes from, and stops no other.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from dyt_bench.discovery.domains import unknown, wrong_version
from dyt_bench.discovery.importing import Imported, distribution, import_point
from dyt_bench.errors import UserError, quoted
from dyt_bench.executors.contract import Executor
from dyt_bench.plugin.code import code_digest
from dyt_bench.plugin.extensions import AddedDataset, AddedMetric, LayerClass, MakeSection
from dyt_bench.plugin.mirrors import MakeMirror
from dyt_bench.plugin.stand_in import MakeStandIn
from dyt_bench.plugin.task import NATIVE
from dyt_bench.plugin.version1 import OLD_GROUPS, old_group, section

T = TypeVar("T")
LOCAL = "local"  # the executor that a suite uses if it names none
_NAME = re.compile(r"[a-z][a-z0-9-]*")
# Sources and versions that the code digest of every task covers.
_COVERED = {"dyt", "dyt_bench", "torch"}


@dataclass(frozen=True)
class LoadedExtension:
    """One entry point after its import."""

    kind: str
    name: str
    value: str  # "dyt_extras:DySymlog"
    distribution: str  # "dyt-extras 1.0"
    problem: str = ""  # why it cannot be used; empty if it can
    warnings: tuple[str, ...] = ()  # flaws that do not prevent its use


@dataclass(frozen=True)
class ExtensionPoint(Generic[T]):
    """One kind of thing that packages may add."""

    kind: str  # for people: "variant"
    group: str  # of entry points
    check: Callable[[Any], str]  # what is wrong with an object; empty if nothing is
    needs: str = ""  # a module that all of them import, so that none is called slow for it
    own: Mapping[str, str] = field(default_factory=dict)  # the harness's: name -> its address
    adapt: Callable[[Any], Any] | None = None  # of an object that may be of an older contract

    def names(self) -> list[str]:
        """The names that a suite may use, broken ones too, in order; imports nothing."""
        return [*self.own, *sorted({point.name for point in self._points()} - self.own.keys())]

    def load(self, name: str) -> T:
        """The object called ``name``, imported and checked.

        Raises:
            UserError: there is none, with the nearest match; or it is broken, with the reason.
        """
        point = self.find(name)
        imported = self._import(point)
        if imported.problem:
            origin = distribution(point)
            raise UserError(f"{self.kind} {quoted(name)} of {origin} is broken: {imported.problem}")
        return cast(T, imported.value)

    def find(self, name: str) -> EntryPoint:
        """The entry point called ``name``; the object is not imported.

        Raises:
            UserError: there is none, or its declaration is wrong.
        """
        if name in self.own:
            return EntryPoint(name, self.own[name], self.group)
        found = [point for point in self._points() if point.name == name]
        if not found:
            raise UserError(unknown(self.kind, name, self.names()))
        problem = self._declared(found)
        if problem:
            origin = distribution(found[0])
            raise UserError(f"{self.kind} {quoted(name)} of {origin} is broken: {problem}")
        return found[0]

    def get(self, name: str) -> T | None:
        """The object called ``name``; None if there is none or it is broken."""
        try:
            return self.load(name)
        except UserError:
            return None

    def code_digest(self, name: str) -> str:
        """A hash of the code behind it; empty where the digest of every task covers that."""
        point = next((p for p in self._points() if p.name == name), None)
        package = "" if point is None else point.module.partition(".")[0]
        if point is None or package in _COVERED:
            return ""
        return code_digest(point.module, (point.dist and point.dist.requires) or ())

    def extensions(self) -> Iterator[LoadedExtension]:
        """Every entry point of the group, imported and checked."""
        points = sorted(self._points(), key=lambda point: (point.name, distribution(point)))
        for point in points:
            problem = self._declared([p for p in points if p.name == point.name])
            imported = Imported(problem=problem) if problem else self._import(point)
            yield LoadedExtension(
                self.kind,
                point.name,
                point.value,
                distribution(point),
                imported.problem,
                tuple(imported.warnings),
            )

    def _points(self) -> Sequence[EntryPoint]:
        points = list(_installed(self.group, tuple(sys.path)))
        if self.group in OLD_GROUPS:
            # A package may register an object in both groups, to work with either version.
            known = {(point.name, point.value) for point in points}
            old = _installed(OLD_GROUPS[self.group], tuple(sys.path))
            points += [point for point in old if (point.name, point.value) not in known]
        return points

    def _declared(self, points: Sequence[EntryPoint]) -> str:
        """What is wrong with a name's declaration; ``points`` are all entry points that have it."""
        name = points[0].name
        if not _NAME.fullmatch(name):
            return f"name {quoted(name)} must be lower-case letters, digits and hyphens"
        if name in self.own or name == NATIVE:
            return f"name {quoted(name)} is the harness's own: it needs another"
        if len(points) > 1:
            origins = " and ".join(sorted(distribution(point) for point in points))
            return f"{quoted(name)} is declared by {origins}: uninstall all but one"
        return ""

    def _import(self, point: EntryPoint) -> Imported:
        """The object that ``point`` names, imported and checked."""
        if self.needs:
            import_module(self.needs)
        imported = import_point(point)
        if not imported.problem:
            version = getattr(imported.value, "api_version", 1)
            flaw = wrong_version(version) or self.check(imported.value)
            imported.problem = f"{point.value} {flaw}" if flaw else ""
        if not imported.problem:
            if self.adapt is not None:
                imported.value = self.adapt(imported.value)
            if deprecated := old_group(point.group, self.group, point.name):
                imported.warnings.append(deprecated)
        return imported


def variant_names() -> list[str]:
    """The variants a suite may use: "native", and all that packages register."""
    return list(dict.fromkeys([NATIVE, *VARIANTS.names()]))


@cache
def _installed(group: str, path: tuple[str, ...]) -> EntryPoints:
    """The group's entry points on the ``path``; reading all metadata takes 10 ms, so it is kept."""
    return entry_points(group=group)


def _callable_with(what: str, *arguments: object, **options: object) -> Callable[[Any], str]:
    """A check that an object can be called with these arguments; nothing is called."""

    def check(loaded: Any) -> str:
        try:
            inspect.signature(loaded).bind(*arguments, **options)
        except (TypeError, ValueError) as error:
            return f"is not {what}: {error}"
        return ""

    return check


def _is_a(kind: type) -> Callable[[Any], str]:
    name = f"{kind.__module__}.{kind.__name__}"

    def check(loaded: Any) -> str:
        found = type(loaded).__name__
        return "" if isinstance(loaded, kind) else f"is a {found}, not a {name} object"

    return check


def _check_recipe(loaded: Any) -> str:
    from dyt import Recipe

    found = type(loaded).__name__
    known = isinstance(loaded, Recipe) or callable(loaded)
    return "" if known else f"is a {found}, not a dyt.Recipe or a function that returns one"


def _check_executor(loaded: Any) -> str:
    if not callable(getattr(loaded, "run", None)):
        return "has no method run(job, log, limits)"
    return _callable_with("made of a list of modules", [])(loaded)


_LAYER_OPTIONS = dict.fromkeys(("elementwise_affine", "bias", "channels_last", "device", "dtype"))

VARIANTS: ExtensionPoint[LayerClass] = ExtensionPoint(
    "variant",
    "dyt_bench.variants",
    _callable_with("called as dyt.DynamicTanh is", (8,), **_LAYER_OPTIONS),
    "dyt",
)
RECIPES: ExtensionPoint[Any] = ExtensionPoint(
    "recipe", "dyt_bench.recipes", _check_recipe, needs="dyt"
)
DATASETS: ExtensionPoint[AddedDataset] = ExtensionPoint(
    "data set", "dyt_bench.datasets", _is_a(AddedDataset)
)
METRICS: ExtensionPoint[AddedMetric] = ExtensionPoint(
    "metric", "dyt_bench.metrics", _is_a(AddedMetric)
)
SECTIONS: ExtensionPoint[MakeSection] = ExtensionPoint(
    "section",
    "dyt_bench.sections",
    _callable_with("a function of what was collected", None),
    adapt=section,
)
EXECUTORS: ExtensionPoint[type[Executor]] = ExtensionPoint(
    "executor",
    "dyt_bench.executors",
    _check_executor,
    own={
        LOCAL: "dyt_bench.executors.local:LocalExecutor",
        "ray": "dyt_bench.executors.ray:RayExecutor",
        "slurm": "dyt_bench.executors.slurm:SlurmExecutor",
    },
)

MIRRORS: ExtensionPoint[MakeMirror] = ExtensionPoint(
    "mirror",
    "dyt_bench.mirrors",
    _callable_with("made of a folder and a suite's name", Path(), ""),
    own={
        "tensorboard": "dyt_bench.tracking.tensorboard:TensorBoard",
        "wandb": "dyt_bench.tracking.wandb:WeightsAndBiases",
    },
)


def mirrors_called(names: Iterable[str]) -> dict[str, MakeMirror]:
    """What makes the mirrors of these names.

    Raises:
        UserError: no mirror has that name.
    """
    return {name: MIRRORS.load(name) for name in names}


STAND_INS: ExtensionPoint[MakeStandIn] = ExtensionPoint(
    "stand-in",
    "dyt_bench.stand_ins",
    _callable_with("a function of a task and its training preset", None, None),
    needs="lightning.pytorch",  # a forecast, which alone calls them, has it
)

EXTENSION_POINTS: Mapping[str, ExtensionPoint[Any]] = {
    point.kind: point
    for point in (VARIANTS, RECIPES, DATASETS, METRICS, SECTIONS, EXECUTORS, MIRRORS, STAND_INS)
}
