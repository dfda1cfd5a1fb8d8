"""What `dyt-bench check` does: go through the rules, and say of each what came of it."""

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
from dyt_bench.errors import UserError
from dyt_bench.plugin.domain import Domain
from dyt_bench.testing.examined import examined_domains
from dyt_bench.testing.rule import Verdict
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
) -> dict[str, list[Verdict]]:
    """Model -> its verdicts; each is printed to stderr as it comes.

    Args:
        name: of an installed domain, or ``module.path:object``.

    Raises:
        UserError: there is no such domain, model or data set, or its data are not here.
    """
    domain = _find(name, found)
    verdicts: dict[str, list[Verdict]] = {}
    for examined in examined_domains(domain, models=models, dataset=dataset, path=path):
        if examined.verdict(contract).state == "kept":
            list(domain.datasets[examined.dataset].files(path))  # what is missing is not its fault
        _console.print(f"[bold]{name}[/]: {examined.model} on {examined.dataset}")
        verdicts[examined.model] = []
        for rule in RULES:
            with _console.status(rule.name):
                start = time.monotonic()
                verdict = examined.verdict(rule)
            verdicts[examined.model].append(verdict)
            seconds = f"{time.monotonic() - start:.1f} s"
            _console.print(f"  {_MARKS[verdict.state]} {rule.name:<16}[dim]{seconds:>7}[/]")
            if verdict.state != "kept":
                _console.print(indent(str(verdict), " " * 4), markup=False, soft_wrap=True)
    return verdicts


def plain(verdicts: dict[str, list[Verdict]]) -> dict[str, Any]:
    """For programs."""
    return {
        model: [
            {
                "rule": verdict.rule.name,
                "state": verdict.state,
                "says": verdict.rule.says,
                "why": verdict.rule.why,
                "seen": verdict.seen,
                "change": verdict.change,
            }
            for verdict in each
        ]
        for model, each in verdicts.items()
    }


def is_kept(verdicts: dict[str, list[Verdict]]) -> bool:
    """Whether no rule is broken."""
    return all(verdict.state != "broken" for each in verdicts.values() for verdict in each)


def _find(name: str, found: Discovery) -> Domain:
    module, colon, attribute = name.partition(":")
    if not colon:
        return found.domain(name)
    # Where the author works, with the package there or in src; a script sees its own folder only.
    here = Path.cwd()
    sys.path[:0] = [str(here), str(here / "src")]
    try:
        domain = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:  # whatever a stranger's import raises
        raise UserError(
            f"importing {module} raised {type(error).__name__}: {error}; expected "
            "module.path:object of a domain, seen from this folder or installed"
        ) from None
    if domain is None:
        raise UserError(f"{module} has no object {attribute!r}: expected the name of its domain")
    return domain  # type: ignore[no-any-return]  # that it is one, the first rule examines
