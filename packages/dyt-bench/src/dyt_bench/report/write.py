"""One whole report: both pages, figures, data, and the suites that reproduce its runs."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dyt_bench.discovery.domains import Discovery
from dyt_bench.errors import UserError
from dyt_bench.plugin.extensions import Collected
from dyt_bench.records.record import Record
from dyt_bench.report.added import add_sections
from dyt_bench.report.export import write_data
from dyt_bench.report.figures import curves, effects
from dyt_bench.report.figures.style import LIGHT, drawn
from dyt_bench.report.html import html_page
from dyt_bench.report.page import page
from dyt_bench.report.reproduce import write_suites
from dyt_bench.verdicts.runs import EndedRun, Evidence, Timing, group_names, load_runs
from dyt_bench.verdicts.standings import Standing, leaderboard


def write_report(
    title: str,
    records: Sequence[Record],
    found: Discovery,
    out: Path,
    timings: Mapping[str, Timing] = {},
    expected: Mapping[str, Any] = {},
    sections: Sequence[str] = (),
    looks: int = 1,
) -> list[Standing]:
    """Write ``README.md``, ``report.html``, data, ``figures/`` and ``suites/`` into ``out``.

    Args:
        timings: task identity -> variant label -> seconds of interleaved steps.
        expected: domain/model/dataset -> what a paper reports, as in `Evidence.expected`.
        sections: names of sections that packages add.
        looks: how often verdicts could have ended the suite.

    Raises:
        UserError: none of the records has ended.
    """
    evidence = Evidence(title, load_runs(records), timings, expected, looks)
    if not evidence.runs:
        raise UserError("there is nothing to report: no run of the suite has ended yet")
    standings = leaderboard(evidence, found.metric)
    names = group_names(run.group for run in evidence.runs)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    _draw(evidence, standings, found, out / "figures")
    write_data(title, evidence.runs, standings, out)
    suites = write_suites(evidence.runs, names, out / "suites")
    texts = {name: (out / "suites" / file).read_text() for name, file in suites.items()}
    about = _conditions(evidence.runs, found)
    added = add_sections(sections, Collected(title, evidence.runs, standings), out)
    (out / "README.md").write_text(page(evidence, standings, names, suites, found, about, added))
    (out / "report.html").write_text(
        html_page(evidence, standings, names, suites, texts, found, about, added)
    )
    return standings


def _draw(
    evidence: Evidence, standings: Sequence[Standing], found: Discovery, folder: Path
) -> None:
    runs = [run for run in evidence.runs if run.is_judged] or evidence.runs
    names = group_names(run.group for run in evidence.runs)
    metrics = {run.group.domain: found.metric(run.group.domain) for run in runs}
    with drawn(LIGHT):
        curves.sheet(runs, names, metrics, LIGHT).savefig(folder / "curves.png")
        if standings:
            effects.summary(standings, LIGHT).savefig(folder / "summary.png")


def _conditions(runs: Sequence[EndedRun], found: Discovery) -> str:
    """When, where and with which versions; and whether the installed code differs from theirs."""
    newest = max(runs, key=lambda run: run.result.ended)
    environment = newest.about["environment"]
    ended = datetime.fromtimestamp(newest.result.ended, UTC)
    commits = dict.fromkeys(str(run.about["environment"]["commit"]) for run in runs)
    text = (
        f"{len(runs)} runs, the last ended {ended:%Y-%m-%d %H:%M} UTC; {environment['cpu']}, "
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
