"""``report.html``: one self-contained file with every table and figure."""

import base64
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING

from dyt_bench.discovery.domains import Discovery
from dyt_bench.errors import printable
from dyt_bench.records.stored import Unreadable, content_of
from dyt_bench.report import tables
from dyt_bench.report.added import AddedSection
from dyt_bench.report.figures import cost, curves, effects, layers, rates
from dyt_bench.report.figures.style import VARIABLES, WEB, drawn, looks
from dyt_bench.report.illustration import Illustration, attempt
from dyt_bench.verdicts import words
from dyt_bench.verdicts.runs import EndedRun, Evidence, TaskGroup, group_names
from dyt_bench.verdicts.standings import (
    BASELINE,
    Standing,
    by_group,
    overall,
    performance_profile,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PROFILED_FROM = 3  # models; with fewer a profile adds nothing to the table
_PICTURES_PER_RUN = 4
_LARGEST_PICTURE = 512 * 2**10  # bytes


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
    template = environment.from_string(
        files("dyt_bench.report").joinpath("report.html.jinja").read_text()
    )
    with drawn(WEB):
        sections = _sections(evidence, standings, names, found)
    look = looks([run.variant for run in evidence.runs], WEB)
    return template.render(
        title=evidence.title,
        conditions=conditions,
        problems=problems,
        standings=[
            {"row": row, "verdict": standing.comparison.verdict}
            for row, standing in zip(
                tables.filled([words.compact_row(standing) for standing in standings]),
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

    effect: list[Illustration] = []
    validated: list[Illustration] = []
    trained: list[Illustration] = []
    costs: list[Illustration] = []
    alphas: list[Illustration] = []
    saturations: list[Illustration] = []
    for domain in dict.fromkeys(standing.group.domain for standing in standings):
        own_standings = [s for s in standings if s.group.domain == domain]
        effect.append(
            Illustration.attempted(domain, partial(effects.forest, own_standings, look, WEB))
        )
    profile = performance_profile(standings)
    if len(profile[BASELINE]) >= _PROFILED_FROM:
        caption = "all models: performance profile"
        effect.append(Illustration.attempted(caption, partial(effects.profile, profile, look, WEB)))
    for group, own in groups.items():
        name, metric = names[group], found.domain(group.domain).metric
        ended = [run for run in own if run.is_judged]
        if not ended:  # every run failed: the table says so
            continue
        reference = references.get(group)
        for illustrations, caption, make in (
            (
                validated,
                f"{name}: {metric.title}",
                partial(curves.validation, ended, metric, look, WEB, reference=reference),
            ),
            (trained, f"{name}: training loss", partial(curves.training, ended, look, WEB)),
        ):
            illustrations.append(Illustration.attempted(caption, make))
        for illustrations, caption, find in (
            (
                costs,
                name,
                lambda own=ended: cost.bars(cost.costs(own, evidence.timings), look, WEB),
            ),
            (alphas, f"{name}: alpha at the end", partial(layers.alpha, ended, look, WEB)),
            (
                saturations,
                f"{name}: saturation at the end",
                partial(layers.saturation, ended, look, WEB),
            ),
        ):
            illustrations += _if_any(caption, find)
    tried: list[Illustration] = []
    if by_rate := rates.rate_curves([*runs, *evidence.trials], found.metric):
        of_rates = group_names(by_rate)
        draw = partial(rates.sheet, by_rate, of_rates, found.metric, WEB)
        tried.append(Illustration.attempted("all models: metric by learning rate", draw))
    return [
        {
            "title": title,
            "note": note,
            "figures": figures,
            "broad": title in ("Effects", "Cost", "Learning rates"),
        }
        for title, note, figures in (
            (
                "Effects",
                "Gain over the baseline with its 95 % interval: filled at the end of the budget, "
                "hollow at each run's best validation. Shaded: the margin within which models "
                "count as equivalent. An arrow: the interval ends outside the figure.",
                effect,
            ),
            ("Learning rates", rates.NOTE, tried),
            (
                "Learning",
                "Mean over seeds; the band reaches from the lowest to the highest seed. Training "
                "loss is smoothed.",
                [*validated, *trained],
            ),
            (
                "Cost",
                "Step time, steps taken in turn in one process, with the 95 % interval of the "
                "ratio, and peak memory. Dashed: the baseline's.",
                costs,
            ),
            (
                "Inside the layers",
                "Alpha and the share of saturated inputs (|f| over 95 % of its bound) at the end "
                "of training: mean over seeds, with a bar from the lowest to the highest seed.",
                [*alphas, *saturations],
            ),
            (
                "Pictures",
                "Saved by the runs; the first seed of each variant.",
                _pictures(runs, names),
            ),
        )
        if figures
    ]


def _if_any(caption: str, find: "Callable[[], Figure | None]") -> list[Illustration]:
    """The figure, unless it is None; where it cannot be drawn, a caption that says so."""
    found: list[Figure | None] = []
    why = attempt(lambda: found.append(find()))
    if why:
        return [Illustration(f"{caption} (could not be drawn: {why})")]
    figure = found[0]
    return [] if figure is None else [Illustration.attempted(caption, lambda: figure)]


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
                found.append(Illustration(caption, png=base64.b64encode(content).decode()))
    return found
