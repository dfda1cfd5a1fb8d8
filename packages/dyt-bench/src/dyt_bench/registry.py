"""Entry points -> domains. A broken plugin is reported, never fatal."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points

from dyt_bench.domain import API_VERSION, ENTRY_POINT_GROUP, Domain
from dyt_bench.environment import code_digest
from dyt_bench.errors import UserError

_NAME = re.compile(r"[a-z][a-z0-9-]*")


@dataclass
class Discovery:
    """What the installed packages offer."""

    domains: dict[str, Domain] = field(default_factory=dict)
    points: dict[str, EntryPoint] = field(default_factory=dict)  # domain -> where it came from
    broken: dict[str, str] = field(default_factory=dict)  # entry point -> what is wrong with it
    _code_digests: dict[str, str] = field(default_factory=dict)

    def code_digest(self, name: str) -> str:
        """A hash of the code behind the domain called ``name``."""
        if name not in self._code_digests:
            point = self.points[name]
            requirements = (point.dist.requires if point.dist else None) or []
            package = point.module.partition(".")[0]
            self._code_digests[name] = code_digest(package, requirements)
        return self._code_digests[name]

    def domain(self, name: str) -> Domain:
        """The domain called ``name``; raises UserError with the nearest match."""
        if name in self.domains:
            return self.domains[name]
        if name in self.broken:
            raise UserError(f"domain {name!r} is installed but broken: {self.broken[name]}")
        raise UserError(unknown("domain", name, self.domains))


def discover() -> Discovery:
    """Load every installed domain, in the order of their names."""
    found = Discovery()
    points = sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)
    for point in points:
        problem = _load(point, found)
        if problem is not None:
            found.broken[point.name] = problem
    return found


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """One sentence: what was not known, what was expected, and the nearest match."""
    known = list(known)
    near = get_close_matches(str(name), known, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r}: expected one of {', '.join(known) or 'none'}{guess}"


def _load(point: EntryPoint, found: Discovery) -> str | None:
    """Validate, then insert; returns what is wrong, or None."""
    try:
        domain = point.load()
    except Exception as error:  # whatever a stranger's import raises, the others still load
        return f"importing {point.value} raised {type(error).__name__}: {error}"
    if not isinstance(domain, Domain):
        return f"{point.value} is a {type(domain).__name__}, not a dyt_bench.domain.Domain object"
    if domain.api_version != API_VERSION:
        return f"made for contract version {domain.api_version}; this is version {API_VERSION}"
    missing = [
        attribute
        for attribute in ("name", "summary", "unit", "metric", "models", "datasets")
        if not getattr(domain, attribute, None)
    ]
    if missing:
        return f"{point.value} lacks {', '.join(missing)}"
    if not _NAME.fullmatch(domain.name):
        return f"name {domain.name!r} must be lower-case letters, digits and hyphens"
    if domain.name != point.name:
        return f"is called {domain.name!r} but registered as {point.name!r}"
    if domain.name in found.domains:
        return f"{point.value} declares {domain.name!r}, as {found.points[domain.name].value} does"
    found.domains[domain.name] = domain
    found.points[domain.name] = point
    return None
