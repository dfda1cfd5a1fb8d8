"""All installed extensions, each checked against the domains: for `plugins` and `doctor`."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from dyt_bench.discovery.datasets import mismatch
from dyt_bench.discovery.domains import Discovery, unknown
from dyt_bench.discovery.extensions import (
    DATASETS,
    EXTENSION_POINTS,
    METRICS,
    ExtensionPoint,
    LoadedExtension,
)
from dyt_bench.errors import UserError, quoted


def inventory(
    found: Discovery, points: Iterable[ExtensionPoint[Any]] = tuple(EXTENSION_POINTS.values())
) -> Iterator[LoadedExtension]:
    """Every entry point of these kinds, by default all but domains, imported and checked."""
    for point in points:
        for extension in point.extensions():
            problem = extension.problem or _misfit(extension.kind, extension.name, found)
            yield replace(extension, problem=problem)


def check(kind: str, name: str, found: Discovery) -> None:
    """Import and check the extension called ``name``; raises UserError if it is broken."""
    EXTENSION_POINTS[kind].load(name)
    problem = _misfit(kind, name, found)
    if problem:
        raise UserError(f"{kind} {quoted(name)} {problem}")


def _misfit(kind: str, name: str, found: Discovery) -> str:
    """Why it does not fit the installed domains; empty if it does."""
    if kind == DATASETS.kind:
        added = DATASETS.load(name)
        if added.domain not in found.domains:
            return f"is for an {unknown('domain', added.domain, found.domains)}"
        return mismatch(name, added, found.domains[added.domain])
    if kind == METRICS.kind:
        for domain in METRICS.load(name).domains:
            if domain not in found.domains:
                return f"is for an {unknown('domain', domain, found.domains)}"
    return ""
