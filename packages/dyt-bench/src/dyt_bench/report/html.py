"""``report.html``: one self-contained file with every table and figure."""

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files

from dyt_bench.discovery.domains import Discovery
from dyt_bench.report import tables
from dyt_bench.report.added import AddedSection
from dyt_bench.report.figures import cost, curves, effects, layers
from dyt_bench.report.figures.style import VARIABLES, WEB, drawn, looks
from dyt_bench.report.illustration import Illustration
from dyt_bench.verdicts import words
from dyt_bench.verdicts.runs import EndedRun, Evidence, TaskGroup
from dyt_bench.verdicts.standings import (
    BASELINE,
    Standing,
    by_group,
    overall,
    performance_profile,
)

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
) -> str:
    """The page; the template escapes all text that comes from records.

    Args:
        suites: group name -> name of the suite file that reproduces its runs.
        suite_texts: group name -> content of that file.
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
        notices=[line.removeprefix("- ") for line in tables.notices(evidence.runs, names)],
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
        effect.append(Illustration.of(domain, effects.forest(own_standings, look, WEB)))
    profile = performance_profile(standings)
    if len(profile[BASELINE]) >= _PROFILED_FROM:
        caption = "all models: performance profile"
        effect.append(Illustration.of(caption, effects.profile(profile, look, WEB)))
    for group, own in groups.items():
        name, metric = names[group], found.domain(group.domain).metric
        ended = [run for run in own if run.is_judged]
        if not ended:  # every run failed: the table says so
            continue
        reference = references.get(group)
        validation = curves.validation(ended, metric, look, WEB, reference=reference)
        validated.append(Illustration.of(f"{name}: {metric.title}", validation))
        trained.append(Illustration.of(f"{name}: training loss", curves.training(ended, look, WEB)))
        cost_bars = cost.bars(cost.costs(ended, evidence.timings), look, WEB)
        for illustrations, caption, figure in (
            (costs, name, cost_bars),
            (alphas, f"{name}: alpha at the end", layers.alpha(ended, look, WEB)),
            (saturations, f"{name}: saturation at the end", layers.saturation(ended, look, WEB)),
        ):
            if figure is not None:
                illustrations.append(Illustration.of(caption, figure))
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
                "Gain over the baseline with its 95 % interval: filled at the end of the budget, "
                "hollow at each run's best validation. Shaded: the margin within which models "
                "count as equivalent. An arrow: the interval ends outside the figure.",
                effect,
            ),
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


def _pictures(runs: Sequence[EndedRun], names: Mapping[TaskGroup, str]) -> list[Illustration]:
    """PNG files of the first seed of every variant; of large ones, only the path."""
    found = []
    seen: set[tuple[TaskGroup, str]] = set()
    for run in runs:
        if not run.artifacts or (run.group, run.variant) in seen:
            continue
        seen.add((run.group, run.variant))
        for file in run.artifacts[:_PICTURES_PER_RUN]:
            caption = f"{names[run.group]} {run.variant}: {file.stem}"
            if file.stat().st_size > _LARGEST_PICTURE:
                found.append(Illustration(f"{caption} (too large to show here: {file})"))
            else:
                png = base64.b64encode(file.read_bytes()).decode()
                found.append(Illustration(caption, png=png))
    return found
