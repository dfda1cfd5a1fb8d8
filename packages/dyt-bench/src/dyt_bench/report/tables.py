"""The report's tables of variants, runs and environment, as rows from column to text."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from dyt_bench.discovery.datasets import dataset_of
from dyt_bench.discovery.domains import Discovery
from dyt_bench.discovery.extensions import METRICS
from dyt_bench.verdicts.budgets import Budget, Trend
from dyt_bench.verdicts.runs import BASELINE, EndedRun, TaskGroup, by_group
from dyt_bench.verdicts.words import Row, number

# The note under the table of `variant_rows`, on both pages.
VARIANTS_NOTE = (
    "Means over seeds; alpha from the smallest to the largest over layers and seeds. Step and "
    "throughput are measured in training, whatever else the machine did meanwhile: to compare "
    "variants, read the verdicts' step times, which are taken in turn. An input is saturated where "
    "|f| is over 95 % of its bound."
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
            costs = _means([run.costs for run in ended])
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
                    "step, ms": number(costs.get("time/step_ms_median"), ".0f"),
                    "throughput": _throughput(costs.get("time/units_per_s"), domain.unit),
                    "peak, MiB": number(costs.get("memory/peak_mib"), ",.0f"),
                    "norms replaced": number(summary.get("model/norms_replaced"), ".0f"),
                    "alpha at the end": _span(alphas, ".3f"),
                    "saturated, most": f"{max(saturations):.1%}" if saturations else "",
                }
            )
    return rows


def _throughput(value: float | None, unit: str) -> str:
    """``1,415 images/s``; empty without a value."""
    plural = unit if unit.endswith("s") else f"{unit}s"
    return "" if value is None else f"{value:,.0f} {plural}/s"


def _evaluated(key: str, run: EndedRun) -> str:
    """A title for ``eval/<name>``: that of the metric which a package adds, or the name."""
    name = key.removeprefix("eval/")
    is_added = name in str(run.parameters.get("metrics", "")).split(", ")
    added = METRICS.get(name) if is_added else None
    return name if added is None else f"{added.title} {'↑' if added.mode == 'max' else '↓'}"


def once_tables(runs: Sequence[EndedRun], names: Mapping[TaskGroup, str]) -> dict[str, list[Row]]:
    """Model -> table of what is measured once, at the end: a line a metric, a column a variant.

    Values are means over seeds. Models without such metrics have no table.
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
    """A line for each run: status, first and last value, step time, digests."""
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


def notices(runs: Sequence[EndedRun], names: Mapping[TaskGroup, str]) -> list[str]:
    """A line for each thing that the runs' readers left out, clipped or guessed of their data."""
    lines = (f"{names[r.group]}: {' '.join(s.split())}" for r in runs for s in r.result.notices)
    return list(dict.fromkeys(lines))


def budget_rows(trends: Sequence[Trend], names: Mapping[TaskGroup, str]) -> list[Row]:
    """A line for each model and budget: the baseline, what the next budget gives it, the gains."""
    rows = []
    for trend in trends:
        for budget, after in zip(trend.budgets, [*trend.budgets[1:], None], strict=True):
            rows.append(
                {
                    "model": names[trend.group],
                    "steps": f"{budget.steps:,}",
                    BASELINE: f"{budget.baseline:.4f}",
                    f"{BASELINE} with more steps": _improvement(budget, after),
                    **{name: f"{share:+.1%}" for name, share in budget.gains.items()},
                }
            )
    return rows


def _improvement(budget: Budget, after: Budget | None) -> str:
    """``+3.1% by 2,000: plateau``."""
    if budget.improvement is None or after is None:
        return ""
    word = "plateau" if budget.is_plateau else "still learning"
    return f"{budget.improvement:+.1%} by {after.steps:,}: {word}"


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
    """Machine and versions of the runs; every value where runs differ."""
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
    """The rows with the same columns in each: those that are filled in any row."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    names = [name for name in names if any(row.get(name) for row in rows)]
    return [{name: row.get(name, "") for name in names} for row in rows]


def _means(summaries: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for summary in summaries for name in summary)
    return {
        name: statistics.fmean(summary[name] for summary in summaries if name in summary)
        for name in names
    }


def _span(values: Sequence[float], form: str) -> str:
    """``0.310 to 0.820``."""
    return f"{min(values):{form}} to {max(values):{form}}" if values else ""
