"""``report.html``: one file with everything in it, which asks the network for nothing."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from dyt_bench.discovery.domains import Discovery
from dyt_bench.plugin.task import NATIVE
from dyt_bench.report import words
from dyt_bench.report.added import Added
from dyt_bench.report.figures import cost, curves, effects, layers
from dyt_bench.report.figures.style import VARIABLES, WEB, drawn, looks, svg
from dyt_bench.verdicts.results import EndedRun, Evidence, TaskGroup
from dyt_bench.verdicts.standings import (
    Standing,
    by_group,
    overall,
    performance_profile,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

_PROFILED_FROM = 3  # models; of fewer a profile says no more than the table
_PICTURES_PER_RUN = 4
_LARGEST_PICTURE = 512 * 2**10  # bytes


@dataclass(frozen=True)
class Figure:
    """A drawing or picture with its caption; ``drawing`` is markup of ours, ``picture`` base64."""

    caption: str
    drawing: str = ""
    picture: str = ""


def html_page(
    evidence: Evidence,
    standings: Sequence[Standing],
    names: Mapping[TaskGroup, str],
    suites: Mapping[str, str],
    suite_texts: Mapping[str, str],
    found: Discovery,
    conditions: str,
    added: Sequence[Added] = (),
) -> str:
    """The page. Whatever comes from records is escaped by the template.

    Args:
        suites: group name -> the suite file that makes its rows again.
        suite_texts: the same files' content, by group name.
        added: sections that packages add.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        files("dyt_bench.report").joinpath("report.html.jinja").read_text()
    )
    with drawn(WEB):
        sections = _sections(evidence, standings, names, found)
    look = looks([run.variant for run in evidence.runs], WEB)
    return template.render(
        title=evidence.title,
        conditions=conditions,
        standings=[
            {"row": row, "verdict": standing.comparison.verdict}
            for row, standing in zip(
                words.filled([words.compact_row(standing) for standing in standings]),
                standings,
                strict=True,
            )
        ],
        reading=words.READING,
        overall=[words.overall_row(one) for one in overall(standings)],
        legend=[
            {"variant": variant, "colour": VARIABLES[own.colour]} for variant, own in look.items()
        ],
        sections=sections,
        added=added,
        variants_note=words.ARMS,
        variants=words.filled(words.variant_rows(evidence.runs, names, found)),
        once=words.once_tables(evidence.runs, names),
        runs=words.filled(words.run_rows(evidence.runs, names, found)),
        environment=words.environment_rows(evidence.runs),
        groups=[
            {
                "name": names[group],
                "text": words.group_text(group, own, found),
                "suite": suites[names[group]],
                "yaml": suite_texts[names[group]],
            }
            for group, own in by_group(evidence.runs).items()
        ],
    )


def _sections(
    evidence: Evidence,
    standings: Sequence[Standing],
    names: Mapping[TaskGroup, str],
    found: Discovery,
) -> list[dict[str, object]]:
    """Title, note and figures of each section that has any."""
    runs = evidence.runs
    look = looks([run.variant for run in runs], WEB)
    groups = by_group(runs)
    references = {standing.group: standing.reference for standing in standings}

    effect: list[Figure] = []
    validated: list[Figure] = []
    trained: list[Figure] = []
    costs: list[Figure] = []
    alphas: list[Figure] = []
    saturations: list[Figure] = []
    for domain in dict.fromkeys(standing.group.domain for standing in standings):
        own_standings = [s for s in standings if s.group.domain == domain]
        effect.append(_figure(domain, effects.forest(own_standings, look, WEB)))
    profile = performance_profile(standings)
    if len(profile[NATIVE]) >= _PROFILED_FROM:
        caption = "all models: performance profile"
        effect.append(_figure(caption, effects.profile(profile, look, WEB)))
    for group, own in groups.items():
        name, metric = names[group], found.domain(group.domain).metric
        ended = [run for run in own if run.is_judged]
        if not ended:  # every run failed: the table says so
            continue
        reference = references.get(group)
        drawing = curves.validation(ended, metric, look, WEB, reference=reference)
        validated.append(_figure(f"{name}: {metric.title}", drawing))
        trained.append(_figure(f"{name}: training loss", curves.training(ended, look, WEB)))
        cost_bars = cost.bars(cost.costs(ended, evidence.timings), look, WEB)
        for kept, caption, sketch in (
            (costs, name, cost_bars),
            (alphas, f"{name}: alpha at the end", layers.alpha(ended, look, WEB)),
            (saturations, f"{name}: saturation at the end", layers.saturation(ended, look, WEB)),
        ):
            if sketch is not None:
                kept.append(_figure(caption, sketch))
    return [
        {
            "title": title,
            "note": note,
            "figures": figures,
            "broad": title in ("Effects", "Cost"),
        }
        for title, note, figures in (
            (
                "Effects",
                "Gain over the native norm with its 95 % interval: filled at the end of the "
                "budget, hollow at each run's best validation. Shaded: the margin within which "
                "models count as equivalent. An arrow: the interval goes on.",
                effect,
            ),
            (
                "Learning",
                "Mean over seeds; the band reaches from the least to the most. Training loss is "
                "smoothed.",
                [*validated, *trained],
            ),
            (
                "Cost",
                "Step time, steps taken in turn in one process, with the 95 % interval of the "
                "ratio, and peak memory. Dashed: the native norm's.",
                costs,
            ),
            (
                "Inside the layers",
                "Alpha and the share of saturated inputs (|f| over 95 % of its bound) at the end "
                "of training; mean over seeds, a bar from the least to the most.",
                [*alphas, *saturations],
            ),
            (
                "Pictures",
                "Left by the runs; the first seed of each variant.",
                _pictures(runs, names),
            ),
        )
        if figures
    ]


def _figure(caption: str, drawing: "Drawing") -> Figure:
    return Figure(caption, drawing=svg(drawing, escape(caption, quote=True)))


def _pictures(runs: Sequence[EndedRun], names: Mapping[TaskGroup, str]) -> list[Figure]:
    """PNG files of the first seed of every variant; large ones are named, not shown."""
    found = []
    seen: set[tuple[TaskGroup, str]] = set()
    for run in runs:
        if not run.artifacts or (run.group, run.variant) in seen:
            continue
        seen.add((run.group, run.variant))
        for file in run.artifacts[:_PICTURES_PER_RUN]:
            caption = f"{names[run.group]} {run.variant}: {file.stem}"
            if file.stat().st_size > _LARGEST_PICTURE:
                found.append(Figure(f"{caption} (too large to show here: {file})"))
            else:
                picture = base64.b64encode(file.read_bytes()).decode()
                found.append(Figure(caption, picture=picture))
    return found
