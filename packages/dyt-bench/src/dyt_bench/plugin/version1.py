"""The names of contract version 1, so that a plug-in written for it keeps working.

Everything that keeps version 1 alive is in this module, and goes with it: the old modules, which
are imported lazily, classes that take the old fields, old attributes of what a plug-in is given,
and the old entry-point group. Each use gives a `DeprecationWarning` that names the successor.
"""

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeVar

from dyt_bench.plugin import domain as contract
from dyt_bench.plugin.task import Task

# Old module -> its successor, and the public names it had.
MODULES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "dyt_bench.domain": (
        "dyt_bench.plugin.domain",
        (
            "API_VERSION",
            "OLDEST_API_VERSION",
            "DataError",
            "Dataset",
            "Domain",
            "Fetch",
            "Metric",
            "Model",
            "Training",
        ),
    ),
    "dyt_bench.cell": ("dyt_bench.plugin.task", ("Task", "digest")),
    "dyt_bench.loading": (
        "dyt_bench.plugin.data",
        ("SeededDataModule", "ShuffledBatches", "at_most"),
    ),
    "dyt_bench.supervised": ("dyt_bench.plugin.module", ("SupervisedModule",)),
    "dyt_bench.optim": ("dyt_bench.plugin.optim", ("adamw",)),
    "dyt_bench.sources": (
        "dyt_bench.plugin.files",
        ("digest_files", "files_below", "package_file"),
    ),
    "dyt_bench.fetch": ("dyt_bench.plugin.fetch", ("Fetch", "cache", "fetched_folder", "need")),
    "dyt_bench.points": (
        "dyt_bench.plugin.extensions",
        (
            "AddedDataset",
            "AddedMetric",
            "Collected",
            "MakeSection",
            "NormClass",
            "Plot",
            "Section",
            "Trained",
        ),
    ),
}
# Old name -> new name, in the module's successor.
RENAMED = {"Training": "TrainingPreset", "NormClass": "LayerClass"}
# Entry-point group -> the group that version 1 had for the same.
OLD_GROUPS = {"dyt_bench.variants": "dyt_bench.norms"}
# Class of what a plug-in is given -> old attribute -> new attribute.
ATTRIBUTES: Mapping[str, Mapping[str, str]] = {
    "Task": {"question": "group", "variant": "overrides"},
    "EndedRun": {"norm": "variant", "subject": "group"},
    "TaskGroup": {"question": "label"},
    "Standing": {
        "norm": "variant",
        "subject": "group",
        "native": "baseline_last",
        "native_best": "baseline_best",
        "native_steps": "baseline_steps",
        "arm": "variant_last",
        "arm_best": "variant_best",
        "arm_steps": "variant_steps",
        "baseline": "reference",
    },
}
Class = TypeVar("Class", bound=type)


def _warn(old: str, new: str, stacklevel: int = 3) -> None:
    """Warn at the line that uses the old name: by default two frames up from here."""
    text = f"{old} is {new} since contract version 2 of dyt-bench"
    warnings.warn(text, DeprecationWarning, stacklevel=stacklevel)


def _renamed(owner: str, fields: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """Arguments of a constructor with the old name replaced."""
    if old not in fields:
        return fields
    _warn(f"{owner}({old}=)", f"{owner}({new}=)", stacklevel=4)
    return {new: fields.pop(old), **fields}


class Metric(contract.Metric):
    """`dyt_bench.plugin.domain.Metric`, which takes ``baseline`` for ``reference``."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**_renamed("Metric", fields, "baseline", "reference"))

    @property
    def baseline(self) -> str:
        return self.reference


class Model(contract.Model):
    """`dyt_bench.plugin.domain.Model`, which takes ``baseline_steps`` for ``reference_steps``."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**_renamed("Model", fields, "baseline_steps", "reference_steps"))

    @property
    def baseline_steps(self) -> int | None:
        return self.reference_steps


class Domain(contract.Domain):
    """`dyt_bench.plugin.domain.Domain`, which calls ``baseline`` for ``reference_score``."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "baseline" in vars(cls):
            # Between the class statement and here is a frame of ABCMeta.
            _warn("Domain.baseline()", "Domain.reference_score()", stacklevel=4)

    def baseline(self, task: Task, data: Any) -> float | None:
        return None

    def reference_score(self, task: Task, data: Any) -> float | None:
        return self.baseline(task, data)


# Old module -> name -> the class that takes the old fields.
ADAPTED: Mapping[str, Mapping[str, type]] = {
    "dyt_bench.domain": {"Domain": Domain, "Metric": Metric, "Model": Model}
}


class _OldModules(MetaPathFinder, Loader):
    """Finds the modules of version 1; each looks its names up in its successor."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in MODULES else None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        successor, names = MODULES[name]
        _warn(name, successor)
        keep_attributes(Task)
        module.__doc__ = f"`{successor}`, as contract version 1 called it."
        vars(module).update(__all__=list(names), __getattr__=partial(_attribute, name))


def _attribute(module: str, name: str) -> Any:
    successor, names = MODULES[module]
    if name not in names:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    if name in RENAMED:
        _warn(f"{module}.{name}", f"{successor}.{RENAMED[name]}")
    adapted = ADAPTED.get(module, {}).get(name)
    return adapted or getattr(import_module(successor), RENAMED.get(name, name))


def successor(module: str) -> str:
    """The module that an import of ``module`` executes: itself, unless it is an old one."""
    return MODULES[module][0] if module in MODULES else module


def install() -> None:
    """Make the old modules importable; imports none of them and none of their successors."""
    if not any(isinstance(finder, _OldModules) for finder in sys.meta_path):
        sys.meta_path.append(_OldModules())  # last, so that a module on the path comes first


def old_name(module: str, old: str, new: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module in which ``old`` is now called ``new``."""

    def attribute(name: str) -> Any:
        if name != old:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        _warn(f"{module}.{old}", f"{module}.{new}")
        return getattr(sys.modules[module], new)

    return attribute


def keep_attributes(cls: Class) -> Class:
    """Let the objects of ``cls`` have the attributes that they had in version 1."""
    old = ATTRIBUTES.get(cls.__name__, {})

    def attribute(self: object, name: str) -> Any:
        if name not in old:
            raise AttributeError(f"{cls.__name__!r} object has no attribute {name!r}")
        _warn(f"{cls.__name__}.{name}", f"{cls.__name__}.{old[name]}")
        return getattr(self, old[name])

    if old:
        cls.__getattr__ = attribute  # type: ignore[attr-defined]  # Python asks it for what is not there
    return cls


def section(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A section's function, given runs and standings that have their old attributes too."""

    @wraps(make)
    def made(collected: Any) -> Any:
        for run in collected.runs:
            keep_attributes(type(run))
            keep_attributes(type(run.group))
        for standing in collected.standings:
            keep_attributes(type(standing))
        return make(collected)

    return made


def old_group(found: str, group: str, name: str) -> str:
    """A sentence for an entry point found in the group of version 1; empty for any other."""
    if found == group:
        return ""
    _warn(f"the entry-point group {found!r} (of {name!r})", repr(group))
    return f"{name!r} is registered in the group {found!r}, which is now called {group!r}"
