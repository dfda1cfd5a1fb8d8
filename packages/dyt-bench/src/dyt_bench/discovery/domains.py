"""Entry points -> domains. A broken plug-in is reported and stops nothing else."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from itertools import groupby
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dyt_bench.discovery.importing import distribution, import_point, in_short
from dyt_bench.errors import UserError, quoted, shortened
from dyt_bench.plugin.code import code_digest
from dyt_bench.plugin.domain import (
    API_VERSION,
    ENTRY_POINT_GROUP,
    OLDEST_API_VERSION,
    Dataset,
    Domain,
    Metric,
    Model,
    TrainingPreset,
)

_NAME = re.compile(r"[a-z][a-z0-9-]*")
# What a domain must have, and of what kind: by itself, or as a mapping from names.
_PLAIN = {"name": str, "summary": str, "unit": str, "metric": Metric}
_TABLES = {"models": Model, "datasets": Dataset, "trainings": TrainingPreset}


@dataclass
class LoadedDomain:
    """An installed domain after its import."""

    domain: Domain | None = None  # None: it cannot be used
    problem: str = ""  # why it cannot be used
    warnings: list[str] = field(default_factory=list)  # flaws that do not prevent its use


class Discovery:
    """The installed domains. Each is imported when it is first asked for.

    So a suite neither waits for a third-party domain that it does not name nor fails because of
    it.

    Args:
        points: entry points of domains; a name that two of them declare can be used by neither.
    """

    def __init__(self, points: Iterable[EntryPoint]) -> None:
        ordered = sorted(points, key=lambda point: point.name)
        self._points = {
            name: list(same) for name, same in groupby(ordered, key=lambda point: point.name)
        }
        self._loaded: dict[str, LoadedDomain] = {}
        self._code_digests: dict[str, str] = {}

    @property
    def names(self) -> list[str]:
        """The names of all installed domains, broken ones too; nothing is imported."""
        return list(self._points)

    @property
    def domains(self) -> dict[str, Domain]:
        """The domains that work, in the order of their names; all are imported."""
        found = {name: self.loaded(name).domain for name in self._points}
        return {name: domain for name, domain in found.items() if domain is not None}

    @property
    def broken(self) -> dict[str, str]:
        """Name -> what is wrong, one sentence, of the broken domains; all are imported."""
        found = {name: self.loaded(name).problem for name in self._points}
        return {name: problem for name, problem in found.items() if problem}

    @property
    def warnings(self) -> dict[str, list[str]]:
        """Name -> sentences about flaws of domains that work all the same; all are imported."""
        found = {name: self.loaded(name).warnings for name in self._points}
        return {name: warnings for name, warnings in found.items() if warnings}

    def loaded(self, name: str) -> LoadedDomain:
        """The domain called ``name``, one of `names`; imported on the first call."""
        if name not in self._loaded:
            self._loaded[name] = _load(self._points[name])
        return self._loaded[name]

    def origin(self, name: str) -> str:
        """Where the domain called ``name`` comes from: ``dyt-vision 0.1.0``."""
        return " and ".join(distribution(point) for point in self._points[name])

    def domain(self, name: str) -> Domain:
        """The domain called ``name``; raises UserError with the nearest match."""
        if name not in self._points:
            raise UserError(unknown("domain", name, self._points))
        loaded = self.loaded(name)
        if loaded.domain is None:
            raise UserError(f"domain {quoted(name)} is installed but broken: {loaded.problem}")
        return loaded.domain

    def metric(self, name: str) -> Metric:
        """The metric that the domain called ``name`` is judged by; raises as `domain` does."""
        return self.domain(name).metric

    def code_digest(self, name: str) -> str:
        """A hash of the code behind the domain called ``name``."""
        if name not in self._code_digests:
            (point,) = self._points[name]
            requirements = (point.dist.requires if point.dist else None) or []
            self._code_digests[name] = code_digest(point.module, requirements)
        return self._code_digests[name]


def discover() -> Discovery:
    """Every installed domain, in the order of their names; none is imported yet."""
    return Discovery(entry_points(group=ENTRY_POINT_GROUP))


def flaw(domain: object) -> str | None:
    """Why an object cannot be used as a domain, as the end of a sentence; None if it can."""
    if isinstance(domain, type) and issubclass(domain, Domain):
        return f"is a class: it must be an object of it, {domain.__name__}()"
    if not isinstance(domain, Domain):
        return f"is a {type(domain).__name__}, not a dyt_bench.plugin.domain.Domain object"
    try:
        return wrong_version(domain.api_version) or _wrong_field(domain)
    except Exception as error:  # a property, for example
        return f"raised {in_short(error)} when its fields were read"


def unknown(kind: str, name: object, known: Iterable[str], advice: str = "") -> str:
    """One sentence: what is unknown, what was expected, what to do, and the nearest match.

    The match is a question, and therefore the end of the sentence: nothing can be added to it.

    Args:
        advice: what to do if none of ``known`` is meant.
    """
    known = list(dict.fromkeys(known))
    said = f"unknown {kind} {quoted(name)}: expected one of {', '.join(known) or 'none'}"
    return said + (f"; {advice}" if advice else "") + nearest(name, known)


def nearest(name: object, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the nearest known one, if there is one."""
    return guess(get_close_matches(shortened(str(name)), list(known), n=1))


def guess(names: Iterable[str]) -> str:
    """The end of a sentence about an unknown name, which may be one of these."""
    meant = " or ".join(map(quoted, names))
    return f"; did you mean {meant}?" if meant else ""


def _load(points: list[EntryPoint]) -> LoadedDomain:
    """Import the object behind one name and check that it is a domain."""
    point = points[0]
    if len(points) > 1:
        # Whichever was taken, it might not be the one that the suite means.
        origins = " and ".join(f"{distribution(each)} ({each.value})" for each in points)
        return LoadedDomain(problem=f"declared by {origins}: uninstall all but one, or rename it")
    imported = import_point(point)
    problem = imported.problem or _flaw(imported.value, point)
    return LoadedDomain(None if problem else imported.value, problem, imported.warnings)


def _flaw(value: Any, point: EntryPoint) -> str:
    """What is wrong with the object that ``point`` names: one sentence, or empty."""
    problem = flaw(value)
    if problem is None and value.name != point.name:
        names = f"called {quoted(value.name)} but registered as {quoted(point.name)}"
        problem = f"is {names}: make them one name"
    return f"{point.value} (from {distribution(point)}) {problem}" if problem else ""


def wrong_version(version: object) -> str | None:
    """Why a plug-in written for this contract version cannot be used; None if it can."""
    if not isinstance(version, int) or isinstance(version, bool):
        return f"must have a whole number as its api_version, got {quoted(version)}"
    if version > API_VERSION:
        return (
            f"is made for contract version {version}, and this dyt-bench knows versions to "
            f"{API_VERSION}: upgrade dyt-bench, or install an older version of the plugin"
        )
    if version < OLDEST_API_VERSION:
        return (
            f"is made for contract version {version}, and this dyt-bench takes versions from "
            f"{OLDEST_API_VERSION}: upgrade the plugin, or install an older dyt-bench"
        )
    return None


def _wrong_field(domain: Domain) -> str | None:
    """The first field that is missing or of the wrong type, as the end of a sentence."""
    missing = [name for name in (*_PLAIN, *_TABLES) if not getattr(domain, name, None)]
    if missing:
        return f"lacks {', '.join(missing)}"
    for name, kind in _PLAIN.items():
        value = getattr(domain, name)
        if not isinstance(value, kind):
            return f"must have a {kind.__name__} as its {name}, got a {type(value).__name__}"
    for name, kind in _TABLES.items():
        value = getattr(domain, name)
        fits = isinstance(value, Mapping) and all(
            isinstance(key, str) and isinstance(each, kind) for key, each in value.items()
        )
        if not fits:
            wanted = f"a mapping from names to {kind.__name__} as its {name}"
            return f"must have {wanted}, got {quoted(value)}"
    if not _NAME.fullmatch(domain.name):
        return (
            f"has the name {quoted(domain.name)}: it must be lower-case letters, digits and hyphens"
        )
    own = {"metric": domain.metric}
    for table in _TABLES:
        own |= {f"{table}[{quoted(key)}]": each for key, each in getattr(domain, table).items()}
    return next(filter(None, (_wrong_word(where, each) for where, each in own.items())), None)


def _wrong_word(where: str, value: Any) -> str | None:
    """The first field that has none of the words that it can have, as the end of a sentence."""
    for name, words in _words(type(value)).items():  # type: ignore[arg-type]  # a class is hashable
        given = getattr(value, name)
        for each in given if isinstance(given, tuple) else (given,):
            if each not in words:
                expected = ", ".join(map(quoted, words))
                return f"has {where}.{name} {quoted(each)}: expected one of {expected}"
    return None


@cache
def _words(kind: type) -> Mapping[str, Sequence[Any]]:
    """Field -> the words that it, or each of its tuple, can have, of a class of the contract."""
    found = {}
    for name, hint in get_type_hints(kind).items():
        inner = get_args(hint)[0] if get_origin(hint) is tuple else hint
        if get_origin(inner) is Literal:
            found[name] = get_args(inner)
    return found
