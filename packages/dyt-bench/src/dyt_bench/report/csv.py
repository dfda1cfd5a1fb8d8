"""The report's tables as comma-separated values, for spreadsheets and other programs."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dyt_bench.report.export import run_fields, verdict
from dyt_bench.verdicts.runs import EndedRun
from dyt_bench.verdicts.standings import Standing

_FORMULA = ("=", "@", "+", "\t")  # how a spreadsheet's formula may begin


def verdicts_csv(standings: Sequence[Standing]) -> str:
    """A row a standing, with the fields of `dyt_bench.report.export.VERDICT_FIELDS`."""
    return _csv(_flat(verdict(standing)) for standing in standings)


def runs_csv(runs: Sequence[EndedRun]) -> str:
    """A row a run, with the fields of `dyt_bench.report.export.RUN_FIELDS`."""
    return _csv(map(run_fields, runs))


def rows_csv(runs: Sequence[EndedRun]) -> str:
    """A row a point of a run's curves."""
    return _csv(
        {"identity": run.identity, "step": int(step), "metric": metric, "value": value}
        for run in runs
        for metric, points in run.curves.items()
        for step, value in points
    )


def _flat(value: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested mappings as one, with names such as ``at_budget/gain``; a list's items by a space."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{before}{key}"
        if isinstance(item, Mapping):
            found |= _flat(item, f"{name}/")
        elif isinstance(item, list | tuple):
            found[name] = " ".join(map(str, item))
        else:
            found[name] = item
    return found


def _csv(rows: Iterable[Mapping[str, Any]]) -> str:
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
