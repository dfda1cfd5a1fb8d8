"""`dyt-bench check`: checks a domain rule by rule and prints each result."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from textwrap import indent
from typing import Any

from rich.console import Console

from dyt_bench.discovery.domains import Discovery
from dyt_bench.errors import UserError, quoted
from dyt_bench.plugin.domain import Domain
from dyt_bench.testing.checked import checked_domains
from dyt_bench.testing.rule import RuleResult
from dyt_bench.testing.rules import RULES
from dyt_bench.testing.rules.declared import contract

_MARKS = {
    "kept": "[green]✓[/]",
    "note": "[yellow]![/]",
    "broken": "[red]✗[/]",
    "skipped": "[dim]·[/]",
}
_console = Console(stderr=True, highlight=False)


def check(
    name: str,
    found: Discovery,
    *,
    models: Sequence[str] = (),
    dataset: str | None = None,
    path: Path | None = None,
) -> dict[str, list[RuleResult]]:
    """Check every rule; prints each result to stderr and returns model -> results.

    Args:
        name: of an installed domain, or ``module.path:object``.

    Raises:
        UserError: there is no such domain, model or data set, or its data are missing.
    """
    domain = _find(name, found)
    results: dict[str, list[RuleResult]] = {}
    for checked in checked_domains(domain, models=models, dataset=dataset, path=path):
        if checked.result(contract).state == "kept":
            list(domain.datasets[checked.dataset].files(path))  # missing data break no rule
        _console.print(f"[bold]{name}[/]: {checked.model} on {checked.dataset}")
        results[checked.model] = []
        for rule in RULES:
            with _console.status(rule.name):
                start = time.monotonic()
                result = checked.result(rule)
            results[checked.model].append(result)
            seconds = f"{time.monotonic() - start:.1f} s"
            _console.print(f"  {_MARKS[result.state]} {rule.name:<16}[dim]{seconds:>7}[/]")
            if result.state != "kept":
                _console.print(indent(str(result), " " * 4), markup=False, soft_wrap=True)
    return results


def plain(results: dict[str, list[RuleResult]]) -> dict[str, Any]:
    """The results as JSON-able dictionaries."""
    return {
        model: [
            {
                "rule": result.rule.name,
                "state": result.state,
                "says": result.rule.says,
                "why": result.rule.why,
                "seen": result.seen,
                "change": result.change,
            }
            for result in each
        ]
        for model, each in results.items()
    }


def is_kept(results: dict[str, list[RuleResult]]) -> bool:
    """Whether no rule is broken."""
    return all(result.state != "broken" for each in results.values() for result in each)


def _find(name: str, found: Discovery) -> Domain:
    module, colon, attribute = name.partition(":")
    if not colon:
        return found.domain(name)
    # The author's working directory, with the package in it or in src.
    here = Path.cwd()
    sys.path[:0] = [str(here), str(here / "src")]
    try:
        domain = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:  # whatever the author's module raises
        raise UserError(
            f"importing {module} raised {type(error).__name__}: {error}; expected "
            "module.path:object of a domain, in this folder or installed"
        ) from None
    if domain is None:
        raise UserError(
            f"{module} has no object {quoted(attribute)}: expected the name of its domain"
        )
    return domain  # type: ignore[no-any-return]  # the first rule checks that it is one
