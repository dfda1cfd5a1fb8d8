"""Standings and runs as text for any table: a mapping from column to text."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from dyt_bench.discovery.datasets import dataset_of
from dyt_bench.discovery.domains import Discovery
from dyt_bench.discovery.extensions import METRICS
from dyt_bench.plugin.task import NATIVE
from dyt_bench.verdicts.results import EndedRun, TaskGroup
from dyt_bench.verdicts.standings import Overall, Standing, by_group
from dyt_bench.verdicts.statistics import Comparison, Interval

Row = dict[str, str]

READING = (
    (
        "native, value",
        "means over seeds of the validation metric at the end of the budget.",
    ),
    (
        "gain",
        "mean over seeds of the difference paired by seed, positive where the variant is better, "
        "with its 95 % t-interval. Two bars of a figure: filled at the end of the budget, hollow "
        "at each run's own best validation.",
    ),
    (
        "verdict",
        "better or worse where the interval clears zero, and from six seeds on an exact sign-flip "
        "test agrees; equivalent where the interval stays within the domain's margin (shaded in "
        "figures); undetermined otherwise, and always with one seed. How many seeds would decide "
        "is a rough guide from the spread seen so far. At 95 %, one verdict in twenty of better "
        "or worse is to be expected where nothing differs.",
    ),
    ("at best", "gain and verdict by each run's own best validation in place of its last."),
    (
        "to native's quality",
        "median steps until validation is as good as the native norm ends, read off the line "
        "between validations, against the native norm's own; and time: these steps times the "
        "step-time ratio.",
    ),
    (
        "step time, A/A",
        "ratio to the native norm of training steps taken in turn in one process, the rounds of "
        "all seeds together, with its 95 % interval; A/A is that of the native norm to itself. The "
        "floor is what A/A differs from 1 by, 2 % at least: faster or slower is said only where "
        "the whole interval lies beyond it.",
    ),
)


def standing_row(standing: Standing) -> Row:
    """One line of the leaderboard."""
    speed = standing.speed
    return {
        "model": standing.name,
        "metric": f"{standing.metric.title} {'↑' if standing.metric.mode == 'max' else '↓'}",
        "native": f"{standing.native:.4f}",
        "variant": standing.variant,
        "value": f"{standing.value:.4f}",
        "gain": gain(standing.comparison),
        "verdict": verdict(standing.comparison, standing.diverged),
        "at best": f"{standing.best.gain:+.4f} {standing.best.verdict}",
        "to native's quality": quality(standing),
        "step time": f"{ratio(speed.ratio)} {speed.word}" if speed else "not timed",
        "A/A": f"{speed.aa.middle:.2f}" if speed else "",
        "reported": expected(standing),
        "reference": number(standing.reference, ".4f"),
    }


def compact_row(standing: Standing) -> Row:
    """The same in fewer columns, the verdict early."""
    row = standing_row(standing)
    return {
        "model": standing.name,
        "variant": standing.variant,
        "verdict": row["verdict"],
        "native → variant": f"{row['native']} → {row['value']}",
        "gain": row["gain"],
        "at best": row["at best"],
        "to native's quality": row["to native's quality"],
        "step time": row["step time"],
        "A/A": row["A/A"],
        "reported": row["reported"],
        "reference": row["reference"],
    }


def gain(judged: Comparison) -> str:
    if judged.interval is None:
        return f"{judged.gain:+.4f}"
    low, high = judged.interval
    return f"{judged.gain:+.4f} [{low:+.3g}, {high:+.3g}]"


def verdict(judged: Comparison, diverged: int = 0) -> str:
    """``undetermined (n=3; about 9 seeds would decide)``."""
    notes = [f"n={judged.seeds}"]
    if judged.p is not None:
        notes.append(f"p={judged.p:.2g}")
    if judged.verdict == "undetermined" and judged.seeds_needed is not None:
        notes.append(f"about {judged.seeds_needed} seeds would decide")
    elif judged.verdict == "undetermined" and judged.seeds > 1 and not diverged:
        notes.append("more than 200 seeds would be needed")
    if diverged:
        notes.append(f"diverged at {diverged} more")
    return f"{judged.verdict} ({'; '.join(notes)})"


def quality(standing: Standing) -> str:
    if not standing.native_steps:
        return "native learned nothing"
    if not math.isfinite(standing.value_steps):
        return "not reached"
    time = standing.time_to_quality
    steps = f"{standing.value_steps:.0f} of {standing.native_steps:.0f} steps"
    return steps if time is None else f"{steps}, time ×{time:.2f}"


def expected(standing: Standing) -> str:
    """What a source reports of the native norm and this one."""
    if not standing.expected or not standing.expected.keys() & {NATIVE, standing.variant}:
        return ""
    values = (standing.expected.get(variant) for variant in (NATIVE, standing.variant))
    name = standing.expected_metric
    metric = f"{name} " if name not in ("", standing.metric.name) else ""
    source = f" ({standing.source})" if standing.source else ""
    return metric + " → ".join(number(value, "g") or "?" for value in values) + source


def ratio(interval: Interval) -> str:
    """``1.03 [0.99, 1.07]``."""
    middle, low, high = interval
    return f"{middle:.2f}" if math.isnan(low) else f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def overall_row(one: Overall) -> Row:
    return {
        "variant": one.variant,
        "models": str(one.groups),
        "step time, geometric mean": ratio(one.step_time),
        "comes to native's quality": f"{one.reached} of {one.groups}",
        "verdicts": ", ".join(f"{count} {word}" for word, count in one.verdicts.items()),
    }


# Under the lines of `variant_rows`, on both pages.
ARMS = (
    "Means over seeds; alpha from the least layer to the most. Step and throughput are those of "
    "training, with whatever else the machine did meanwhile: the verdicts' step times, taken in "
    "turn, compare variants."
)


def variant_rows(
    runs: Sequence[EndedRun], names: Mapping[TaskGroup, str], found: Discovery
) -> list[Row]:
    """A line for each group and variant: means over seeds, failures counted."""
    rows = []
    for group, own in by_group(runs).items():
        domain = found.domain(group.domain)
        metric = domain.metric.name
        for variant in dict.fromkeys(run.variant for run in own):
            seeds = [run for run in own if run.variant == variant]
            ended = [run for run in seeds if run.result.status == "finished"]
            summary = _means([run.result.summary for run in ended])
            alphas = [value for run in ended for value in run.result.alpha.values()]
            saturations = [value for run in ended for value in run.result.saturation.values()]
            first = _means([run.result.first for run in ended]).get(metric)
            last = _means([run.result.last for run in ended]).get(metric)
            rows.append(
                {
                    "model": names[group],
                    "variant": variant,
                    "runs": f"{len(ended)} of {len(seeds)}"
                    if len(ended) < len(seeds)
                    else str(len(seeds)),
                    "metric, first → last": f"{number(first, '.4f')} → {number(last, '.4f')}",
                    "step, ms": number(summary.get("time/step_ms_median"), ".0f"),
                    "throughput": number(summary.get("time/units_per_s"), ",.0f")
                    + f" {domain.unit}s/s",
                    "peak, MiB": number(summary.get("memory/peak_mib"), ",.0f"),
                    "norms replaced": number(summary.get("model/norms_replaced"), ".0f"),
                    "alpha at the end": _span(alphas, ".3f"),
                    "saturated, most": f"{max(saturations):.1%}" if saturations else "",
                }
            )
    return rows


def _evaluated(key: str, run: EndedRun) -> str:
    """A column's title for ``eval/<name>``: as who adds the metric calls it, or the name."""
    name = key.removeprefix("eval/")
    is_added = name in str(run.parameters.get("metrics", "")).split(", ")
    added = METRICS.get(name) if is_added else None
    return name if added is None else f"{added.title} {'↑' if added.mode == 'max' else '↓'}"


def once_tables(runs: Sequence[EndedRun], names: Mapping[TaskGroup, str]) -> dict[str, list[Row]]:
    """Model -> what its domain measured once at the end: a line a metric, a column a variant.

    Means over seeds. Models whose domain measures nothing more have no table.
    """
    tables: dict[str, list[Row]] = {}
    for group, own in by_group(runs).items():
        means = {}
        for variant in dict.fromkeys(run.variant for run in own):
            ended = [r for r in own if r.variant == variant and r.result.status == "finished"]
            means[variant] = _means([run.result.summary for run in ended])
        metrics = dict.fromkeys(
            name for mean in means.values() for name in mean if name.startswith("eval/")
        )
        if metrics:
            tables[names[group]] = [
                {
                    "at the end": _evaluated(name, own[0]),
                    **{variant: number(mean.get(name), ".4g") for variant, mean in means.items()},
                }
                for name in metrics
            ]
    return tables


def run_rows(
    runs: Sequence[EndedRun], names: Mapping[TaskGroup, str], found: Discovery
) -> list[Row]:
    rows = []
    for run in runs:
        result = run.result
        metric = found.domain(run.group.domain).metric.name
        reason = run.not_comparable and f"not comparable: {run.not_comparable}"
        status = f"{result.status}: {result.reason}" if result.reason else result.status
        status = "; ".join([status, *result.missing])
        rows.append(
            {
                "model": names[run.group],
                "variant": run.variant,
                "seed": str(run.seed),
                "status": reason or status,
                "first → last": f"{number(result.first.get(metric), '.4f')} → "
                f"{number(result.last.get(metric), '.4f')}",
                "step, ms": number(result.summary.get("time/step_ms_median"), ".0f"),
                "weights": result.facts.get("weights", ""),
                "batches": result.facts.get("batches", ""),
                "code": str(run.about["digests"].get("code", "")),
                "run": run.identity,
            }
        )
    return rows


def group_text(group: TaskGroup, runs: Sequence[EndedRun], found: Discovery) -> str:
    """Model, size, budget and data of a group."""
    domain = found.domain(group.domain)
    about, data = domain.models[group.model], dataset_of(domain, group.dataset)
    sizes = [run.result.summary.get("model/parameters", 0) for run in runs]
    return (
        f"{about.summary}, from {about.library}, native norm {about.native_norm}, "
        f"{max(sizes):,.0f} parameters; {group.steps} steps of {group.batch_size}, "
        f"learning rate {group.learning_rate:g}, preset {group.training}. "
        f"Data {group.dataset}: {data.summary}; {data.source}; {data.licence}."
    )


def environment_rows(runs: Sequence[EndedRun]) -> list[Row]:
    """What the runs were made with; where runs differ, every value."""
    values: dict[str, dict[str, None]] = {}
    for run in runs:
        facts: dict[str, Any] = {
            **run.about["environment"],
            **{
                key: run.result.facts[key]
                for key in ("device", "threads", "binding")
                if key in run.result.facts
            },
        }
        for key, value in facts.items():
            values.setdefault(key, {})[str(value)] = None
    return [{"what": key, "value": "; ".join(found)} for key, found in values.items()]


def filled(rows: Sequence[Row]) -> list[Row]:
    """The rows with the columns that any of them fills, the same in every row."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    names = [name for name in names if any(row.get(name) for row in rows)]
    return [{name: row.get(name, "") for name in names} for row in rows]


def number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _means(summaries: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for summary in summaries for name in summary)
    return {
        name: statistics.fmean(summary[name] for summary in summaries if name in summary)
        for name in names
    }


def _span(values: Sequence[float], form: str) -> str:
    return f"{min(values):{form}} to {max(values):{form}}" if values else ""
