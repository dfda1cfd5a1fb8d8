"""One whole report: both pages, figures, data, and the suites that reproduce its runs."""

import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dyt_bench.discovery.datasets import dataset_of
from dyt_bench.discovery.domains import Discovery
from dyt_bench.errors import UserError, printable, quoted
from dyt_bench.plugin.extensions import Collected
from dyt_bench.records.record import Record
from dyt_bench.records.workspace import SuiteRuns
from dyt_bench.report.added import add_sections
from dyt_bench.report.export import write_data
from dyt_bench.report.figures import budgets, curves, effects, rates
from dyt_bench.report.figures.style import LIGHT, drawn, save
from dyt_bench.report.html import html_page
from dyt_bench.report.illustration import attempt
from dyt_bench.report.page import page
from dyt_bench.report.reproduce import write_suites
from dyt_bench.verdicts.budgets import trends
from dyt_bench.verdicts.runs import (
    EndedRun,
    Evidence,
    Timing,
    evidence_of,
    group_names,
    load_runs,
)
from dyt_bench.verdicts.standings import Standing, leaderboard

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FILES = ("README.md", "report.html", "results.json", "runs.parquet", "rows.parquet")
_FOLDERS = ("figures", "suites")
# Where on its machine a package lies says nothing of the data that come with it.
_OUTSIDE = re.compile(r"\S*/(?:site-packages|src)/(?=dyt_\w+/)")


def try_out(out: Path) -> None:
    """Check that a report can be written into ``out``; leaves nothing behind.

    Raises:
        UserError: it cannot.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out) as file:
            file.write(b"tried")
        for name in _FILES:
            if (out / name).is_dir():
                raise IsADirectoryError(0, f"{name} is a folder")
        for name in _FOLDERS:
            if os.path.lexists(out / name) and not (out / name).is_dir():
                raise NotADirectoryError(0, f"{name} is no folder")
    except OSError as error:
        raise UserError(
            f"no report can be written to {out}: {error.strerror or error}; name another folder "
            "with --out"
        ) from None
    finally:
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def write_report(
    listed: SuiteRuns,
    records: Sequence[Record],
    found: Discovery,
    out: Path,
    timings: Mapping[str, Timing] = {},
    compiled: Mapping[str, Timing] = {},
    problems: Sequence[str] = (),
) -> list[Standing]:
    """Write ``README.md``, ``report.html``, data, ``figures/`` and ``suites/`` into ``out``.

    What cannot be drawn, or is of a domain that is not installed, is a line of the page.

    Args:
        listed: what the suite last ran, and what it knows beside.
        records: of its runs.
        timings: task identity -> variant label -> seconds of interleaved steps.
        compiled: as ``timings``, under ``torch.compile``.
        problems: what could not be read, a sentence each.

    Raises:
        UserError: none of the records has ended, or ``out`` cannot be written.
    """
    try_out(out)
    evidence, unknown = reported(listed, records, found, timings, compiled)
    problems = [*map(printable, problems), *unknown]
    standings = leaderboard(evidence, found.metric)
    names = group_names(run.group for run in evidence.runs)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    problems += _draw(evidence, standings, found, out / "figures")
    every = [*evidence.trials, *evidence.runs, *evidence.longer]
    write_data(evidence.title, every, standings, out)
    suites = write_suites(evidence.runs, names, out / "suites")
    texts = {name: (out / "suites" / file).read_text() for name, file in suites.items()}
    about = _conditions(evidence.runs, found)
    collected = Collected(evidence.title, evidence.runs, standings)
    added = add_sections(listed.sections, collected, out)
    (out / "README.md").write_text(
        page(evidence, standings, names, suites, found, about, added, problems), encoding="utf-8"
    )
    (out / "report.html").write_text(
        html_page(evidence, standings, names, suites, texts, found, about, added, problems),
        encoding="utf-8",
    )
    return standings


def reported(
    listed: SuiteRuns,
    records: Sequence[Record],
    found: Discovery,
    timings: Mapping[str, Timing] = {},
    compiled: Mapping[str, Timing] = {},
) -> tuple[Evidence, list[str]]:
    """What verdicts are drawn from; and a sentence for what is of a domain that is not installed.

    Args: as of `write_report`.

    Raises:
        UserError: none of the records has ended.
    """
    runs, unknown = _known(records, found)
    if not runs:
        raise UserError(
            "; ".join(["there is nothing to report: no run of the suite has ended yet", *unknown])
        )
    return evidence_of(listed, runs, timings, compiled), unknown


def _known(records: Sequence[Record], found: Discovery) -> tuple[list[EndedRun], list[str]]:
    """The runs that have ended, of what is installed; a sentence for each reason of the others."""
    kept: list[Record] = []
    reasons: Counter[str] = Counter()
    for record in records:
        why = _missing(record.about().get("parameters", {}), found)
        reasons.update([why] * bool(why))
        kept += [record] * (not why)
    sentences = [
        f"{count} {'run' if count == 1 else 'runs'} left out: {why}"
        for why, count in reasons.items()
    ]
    return [_in_text(run) for run in load_runs(kept, found.metric)], sentences


def _missing(parameters: Mapping[str, Any], found: Discovery) -> str:
    """Which domain, model or data set of a run is not installed; empty if all are."""
    if not parameters:
        return ""
    try:
        domain = found.domain(parameters["domain"])
        dataset_of(domain, parameters["dataset"])
    except UserError as error:
        return printable(str(error))
    model = parameters["model"]
    return "" if model in domain.models else f"no model {quoted(model)} in {domain.name}"


def _in_text(run: EndedRun) -> EndedRun:
    """The run with all that its record says as text that can be printed and written."""
    return replace(run, about=_texts(run.about), result=replace(run.result, **_said(run)))


def _said(run: EndedRun) -> dict[str, Any]:
    result = run.result
    return {
        "reason": printable(result.reason),
        "facts": _texts(result.facts),
        "notices": [_OUTSIDE.sub("", line) for line in _texts(result.notices)],
    }


def _texts(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {_texts(key): _texts(item) for key, item in value.items()}
    return [_texts(item) for item in value] if isinstance(value, list) else value


def _draw(
    evidence: Evidence, standings: Sequence[Standing], found: Discovery, folder: Path
) -> list[str]:
    """Draw the figures of README.md; returns a sentence for each that could not be."""
    runs = [run for run in evidence.runs if run.is_judged] or evidence.runs
    names = group_names(run.group for run in evidence.runs)
    metrics = {run.group.domain: found.metric(run.group.domain) for run in runs}
    figures: dict[str, Callable[[], Figure]] = {
        "curves.png": partial(curves.sheet, runs, names, metrics, LIGHT)
    }
    if by_rate := rates.rate_curves([*evidence.runs, *evidence.trials], found.metric):
        of_rates = group_names(by_rate)
        figures["rates.png"] = partial(rates.sheet, by_rate, of_rates, found.metric, LIGHT)
    compared = budgets.drawable(trends([*evidence.runs, *evidence.longer], found.metric))
    if compared:
        of_models = group_names(trend.group for trend in compared)
        figures["budgets.png"] = partial(budgets.sheet, compared, of_models, LIGHT)
    if standings:
        figures["summary.png"] = partial(effects.summary, standings, LIGHT)
    problems = []
    with drawn(LIGHT):
        for file, make in figures.items():
            (folder / file).unlink(missing_ok=True)  # an earlier report's
            if why := attempt(partial(_save, make, folder / file)):
                problems.append(f"figures/{file} could not be drawn: {why}")
    return problems


def _save(make: "Callable[[], Figure]", file: Path) -> None:
    save(make(), file)


def _conditions(runs: Sequence[EndedRun], found: Discovery) -> str:
    """When, where and with which versions; and whether the installed code differs from theirs."""
    newest = max(runs, key=lambda run: run.result.ended)
    environment = dict.fromkeys(("cpu", "cores", "memory_gib", "python", "torch"), "unknown")
    environment |= newest.about["environment"]
    commits = dict.fromkeys(run.about["environment"].get("commit", "unknown") for run in runs)
    text = (
        f"{len(runs)} runs, the last ended {_when(newest.result.ended)}; {environment['cpu']}, "
        f"{environment['cores']} cores, {environment['memory_gib']} GiB; "
        f"Python {environment['python']}, torch {environment['torch']}; "
        f"commit {', '.join(commits)}."
    )
    stale = sorted(
        {
            run.group.domain
            for run in runs
            if run.about["digests"].get("code") != found.code_digest(run.group.domain)
        }
    )
    if stale:
        text += (
            f" Made by another workload version than the one installed ({', '.join(stale)}): "
            "not comparable with runs made now."
        )
    return text


def _when(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):  # no time of a calendar
        return f"{seconds:g} s after 1970"
