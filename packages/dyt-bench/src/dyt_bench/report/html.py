"""``report.html``: one self-contained file with every table and chart."""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib.resources import files

from dyt_bench.discovery.domains import Discovery
from dyt_bench.errors import printable
from dyt_bench.records.stored import Unreadable, content_of
from dyt_bench.report import charts, tables
from dyt_bench.report.added import AddedSection
from dyt_bench.report.figures import budgets, rates
from dyt_bench.report.figures.style import VARIABLES, WEB, looks
from dyt_bench.report.illustration import Illustration, attempt
from dyt_bench.verdicts import answer, words
from dyt_bench.verdicts.budgets import Trend, trends
from dyt_bench.verdicts.runs import (
    BASELINE,
    EndedRun,
    Evidence,
    TaskGroup,
    by_group,
    group_names,
)
from dyt_bench.verdicts.standings import (
    Standing,
    overall,
    performance_profile,
)

_PROFILED_FROM = 3  # models; with fewer a profile adds nothing to the table
_PICTURES_PER_RUN = 4
_LARGEST_PICTURE = 512 * 2**10  # bytes
_TINY = 96  # pixels across, below which a picture's pixels are shown as squares


def html_page(
    evidence: Evidence,
    standings: Sequence[Standing],
    names: Mapping[TaskGroup, str],
    suites: Mapping[str, str],
    suite_texts: Mapping[str, str],
    found: Discovery,
    conditions: str,
    added: Sequence[AddedSection] = (),
    problems: Sequence[str] = (),
) -> str:
    """The page; the template escapes all text that comes from records.

    Args:
        suites: group name -> name of the suite file that reproduces its runs.
        suite_texts: group name -> content of that file.
        added: sections that packages add.
        problems: what could not be read or drawn, a sentence each.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style, script, template = (
        files("dyt_bench.report").joinpath(f"report.{end}").read_text(encoding="utf-8")
        for end in ("css", "js", "html.jinja")
    )
    look = looks([run.variant for run in evidence.runs], WEB)
    return environment.from_string(template).render(
        title=evidence.title,
        style=style,
        script=script,
        script_hash=script_hash(script),
        looks={
            name: {**asdict(own), "colour": VARIABLES[own.colour]} for name, own in look.items()
        },
        answer=answer.answer(standings, answer.failed(evidence.runs, standings, names)),
        grid=answer.grid(standings),
        grid_variants=answer.variants_of(standings),
        grid_note=answer.GRID_NOTE,
        conditions=conditions,
        problems=problems,
        found=[
            {"row": row, "verdict": standing.comparison.verdict}
            for row, standing in zip(
                tables.filled([words.found_row(standing) for standing in standings]),
                standings,
                strict=True,
            )
        ],
        more=tables.filled([words.more_row(standing) for standing in standings]),
        reading=words.READING,
        overall=[words.overall_row(one) for one in overall(standings)],
        sections=_sections(evidence, standings, names, found),
        added=added,
        variants_note=tables.VARIANTS_NOTE,
        variants=tables.filled(tables.variant_rows(evidence.runs, names, found)),
        once=tables.once_tables(evidence.runs, names),
        notices=tables.notices(evidence.runs, names),
        runs=tables.filled(tables.run_rows(evidence.runs, names, found)),
        environment=tables.environment_rows(evidence.runs),
        groups=[
            {
                "name": names[group],
                "text": tables.group_text(group, own, found),
                "suite": suites[names[group]],
                "yaml": suite_texts[names[group]],
            }
            for group, own in by_group(evidence.runs).items()
        ],
    )


def script_hash(script: str) -> str:
    """The page's script as its Content-Security-Policy names it: no other runs in the page."""
    # The template has a line's end before the script.
    digest = hashlib.sha256(f"\n{script}".encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _sections(
    evidence: Evidence,
    standings: Sequence[Standing],
    names: Mapping[TaskGroup, str],
    found: Discovery,
) -> list[dict[str, object]]:
    """Title, note, table and charts of each section that has any."""
    learning, costs, inside = _of_groups(evidence, standings, names, found)
    by_budget = trends([*evidence.runs, *evidence.longer], found.metric)
    of_models = group_names(trend.group for trend in by_budget)
    rows = {"Budgets": tables.filled(tables.budget_rows(by_budget, of_models))}
    sections = (
        (
            "Effects",
            "Gain over the baseline and time of a training step, each with its 95 % interval. "
            "Shaded: the margin within which models count as equivalent, or the floor below which "
            "no difference of times is claimed. An arrow: the interval ends outside the chart.",
            _effects(standings),
        ),
        ("Learning rates", rates.NOTE, _rates(evidence, found)),
        ("Budgets", budgets.NOTE, _budgets(by_budget)),
        (
            "Learning",
            "Mean over seeds; the band reaches from the lowest to the highest seed. The axis is "
            "that of the last half, where the ends differ; 'whole course' shows the start. "
            "Training loss is smoothed.",
            learning,
        ),
        (
            "Cost",
            "Step time, steps taken in turn in one process, with the 95 % interval of the ratio; "
            "and peak memory.",
            costs,
        ),
        (
            "Inside the layers",
            "Alpha and the share of saturated inputs (|f| over 95 % of its bound) at the end "
            "of training: mean over seeds, with a bar from the lowest to the highest seed.",
            inside,
        ),
        (
            "Pictures",
            "Saved by the runs; the first seed of each variant.",
            _pictures(evidence.runs, names),
        ),
    )
    return [
        {
            "title": title,
            "note": note,
            "rows": rows.get(title, []),
            "figures": own,
            "broad": title == "Effects",
        }
        for title, note, own in sections
        if own or rows.get(title)
    ]


def _effects(standings: Sequence[Standing]) -> list[Illustration]:
    """Gains by domain, step times, and over many models the performance profile."""
    found = []
    for domain in dict.fromkeys(standing.group.domain for standing in standings):
        own = [standing for standing in standings if standing.group.domain == domain]
        found += _if_any(f"{domain}: gain", partial(charts.gains, own))
    found += _if_any("all models: step time", partial(charts.step_times, standings))
    profile = performance_profile(standings)
    if len(profile[BASELINE]) >= _PROFILED_FROM:
        caption = "all models: performance profile"
        found += _if_any(caption, partial(charts.profile, profile))
    return found


def _rates(evidence: Evidence, found: Discovery) -> list[Illustration]:
    curves = rates.rate_curves([*evidence.runs, *evidence.trials], found.metric)
    made = []
    for group, name in group_names(curves).items():
        draw = partial(charts.rates, curves[group], found.metric(group.domain))
        made += _if_any(f"{name}: metric by learning rate", draw)
    return made


def _budgets(by_budget: Sequence[Trend]) -> list[Illustration]:
    """Gains by budget, of each model that has variants at several."""
    made = []
    for group, name in group_names(trend.group for trend in by_budget).items():
        own = next(trend for trend in by_budget if trend.group == group)
        made += _if_any(f"{name}: gain by budget", partial(charts.budgets, own))
    return made


def _of_groups(
    evidence: Evidence,
    standings: Sequence[Standing],
    names: Mapping[TaskGroup, str],
    found: Discovery,
) -> tuple[list[Illustration], list[Illustration], list[Illustration]]:
    """Each group's charts: learning, cost, and inside the layers."""
    references = {standing.group: standing.reference for standing in standings}
    learning, costs, inside = [], [], []
    for group, runs in by_group(evidence.runs).items():
        name, metric = names[group], found.metric(group.domain)
        ended = [run for run in runs if run.is_judged]
        if not ended:  # every run failed: the table says so
            continue
        curve = partial(charts.validation, ended, metric, references.get(group))
        learning += _if_any(f"{name}: {metric.title}", curve)
        learning += _if_any(f"{name}: training loss", partial(charts.training, ended))
        for label, chart in charts.cost_charts(ended, evidence.timings).items():
            costs.append(Illustration(f"{name}: {label}", chart=chart))
        inside += _if_any(f"{name}: alpha at the end", partial(charts.alpha, ended))
        inside += _if_any(f"{name}: saturation at the end", partial(charts.saturation, ended))
    return learning, costs, inside


def _if_any(caption: str, make: Callable[[], charts.Chart | None]) -> list[Illustration]:
    """The chart, unless it is None; where it cannot be made, a caption that says so."""
    made: list[charts.Chart | None] = []
    why = attempt(lambda: made.append(make()))
    if why:
        return [Illustration(f"{caption} (could not be drawn: {why})")]
    return [] if made[0] is None else [Illustration(caption, chart=made[0])]


def _pictures(runs: Sequence[EndedRun], names: Mapping[TaskGroup, str]) -> list[Illustration]:
    """PNG files of the first seed of every variant; of large ones, only the path."""
    found = []
    seen: set[tuple[TaskGroup, str]] = set()
    for run in runs:
        if not run.artifacts or (run.group, run.variant) in seen:
            continue
        seen.add((run.group, run.variant))
        for file in run.artifacts[:_PICTURES_PER_RUN]:
            caption = printable(f"{names[run.group]} {run.variant}: {file.stem}")
            try:
                content = content_of(file)
            except Unreadable as problem:
                found.append(Illustration(printable(f"{caption} ({problem})")))
                continue
            if content is None or len(content) > _LARGEST_PICTURE:
                where = printable(str(file))
                found.append(Illustration(f"{caption} (too large to show here: {where})"))
            else:
                png = base64.b64encode(content).decode()
                found.append(Illustration(caption, png=png, tiny=_width(content) <= _TINY))
    return found


def _width(png: bytes) -> int:
    """Pixels across, as the file's first chunk says."""
    return int.from_bytes(png[16:20], "big")
