"""What packages have added, and what is wrong with it: for `dyt-bench plugins` and the doctor."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from dyt_bench.discovery.datasets import mismatch
from dyt_bench.discovery.domains import Discovery, unknown
from dyt_bench.discovery.extensions import DATASETS, METRICS, POINTS, Plugin, Point
from dyt_bench.errors import UserError


def inventory(
    found: Discovery, points: Iterable[Point[Any]] = tuple(POINTS.values())
) -> Iterator[Plugin]:
    """Every entry point of these kinds, by default all but domains, imported and checked."""
    for point in points:
        for plugin in point.plugins():
            problem = plugin.problem or _misfit(plugin.kind, plugin.name, found)
            yield replace(plugin, problem=problem)


def check(kind: str, name: str, found: Discovery) -> None:
    """Import and check one; raises UserError with what is wrong."""
    POINTS[kind].load(name)
    problem = _misfit(kind, name, found)
    if problem:
        raise UserError(f"{kind} {name!r} {problem}")


def _misfit(kind: str, name: str, found: Discovery) -> str:
    """Why it does not fit the domains that are installed; empty if it does."""
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
