"""What a summary run consists of: the mean over a variant's seeds, and what was concluded of it.

Metrics are named ``group section/metric``, and each group has its own. Charts over all summaries,
grouped by variant, therefore never average one model with another.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from dyt_bench.plugin.domain import Metric
from dyt_bench.plugin.task import digest
from dyt_bench.tracking.mirror import by_layer
from dyt_bench.tracking.parts import COST, CURVES, DIAGNOSTICS, RESULT, Group
from dyt_bench.tracking.store import GROUP_TAG, KIND_TAG, NOTE_TAG, VARIANT_TAG, measured
from dyt_bench.verdicts.runs import BASELINE, EndedRun, MetricOf, TaskGroup, group_names
from dyt_bench.verdicts.standings import Standing
from dyt_bench.verdicts.words import escaped, gain, markdown_table

SUMMARY_TAG = "dyt_bench.summary_of"
_STEP_TIME = "step time ratio"
_CHARTED = (_STEP_TIME, "peak memory MiB")  # of the costs, those with a chart
# Name in a run's summary -> name in a summary of several.
_COSTS = {
    "time/step_ms_median": "step time ms",
    "memory/peak_mib": "peak memory MiB",
    "time/units_per_s": "throughput units per s",
}


@dataclass(frozen=True)
class Summary:
    """What one summary run consists of."""

    key: str
    group: TaskGroup
    charts: Group  # its names
    of: str  # group and variant: a workspace has at most one summary of each
    name: str
    params: dict[str, Any]
    tags: dict[str, str]
    rows: list[dict[str, float]]
    ended: float  # seconds since the epoch


def charted(groups: Iterable[TaskGroup], metric_of: MetricOf) -> dict[TaskGroup, Group]:
    """Group -> the names of its charts."""
    names = group_names(groups)
    models = [group.model for group in names]
    return {
        group: Group(
            name=name,
            short=group.model if models.count(group.model) == 1 else name,
            metric=metric_of(group.domain).name,
        )
        for group, name in names.items()
    }


def summarize(
    runs: Sequence[EndedRun], standings: Sequence[Standing], metric_of: MetricOf
) -> list[Summary]:
    """One summary for each group and variant that has a judged run, in the order of the runs."""
    summaries = []
    judged = charted((run.group for run in runs if run.is_judged), metric_of)
    for group, charts in judged.items():
        own = [run for run in runs if run.group == group and run.is_judged]
        timed = any(s.group == group and s.speed is not None for s in standings)
        for variant in dict.fromkeys(run.variant for run in own):
            standing = [s for s in standings if (s.group, s.variant) == (group, variant)]
            seeds = [run for run in own if run.variant == variant]
            judgement = standing[0] if standing else None
            summaries.append(
                _summarize(charts, metric_of(group.domain), variant, seeds, judgement, timed=timed)
            )
    return summaries


def _summarize(
    charts: Group,
    judged_by: Metric,
    variant: str,
    runs: Sequence[EndedRun],
    standing: Standing | None,
    *,
    timed: bool,
) -> Summary:
    metric = judged_by.name
    ended = max(run.result.ended for run in runs)
    costs = _costs(variant, runs, standing, timed=timed)
    values = [run.result.last[metric] for run in runs]
    ends = {
        charts.key(RESULT, metric): fmean(values),
        **{charts.key(COST, title): costs[title] for title in _CHARTED if title in costs},
    }
    numbers = {
        "mean": fmean(values),
        "least": min(values),
        "most": max(values),
        "at best": fmean(run.result.best[metric] for run in runs),
        **costs,
    }
    if standing is not None:
        numbers["gain"] = standing.comparison.gain
        if standing.comparison.interval is not None:
            numbers["gain low"], numbers["gain high"] = standing.comparison.interval
    parameters = runs[0].parameters
    shared = ("domain", "model", "dataset", "steps", "batch_size", "learning_rate")
    seeds = sorted(int(run.parameters["seed"]) for run in runs)
    about = [(run.about["identity"], run.about["started"], run.result.ended) for run in runs]
    of = f"{charts.name} {variant}"
    ratio = costs.get(_STEP_TIME)
    tags = {
        KIND_TAG: "summary",
        SUMMARY_TAG: of,
        GROUP_TAG: charts.name,
        VARIANT_TAG: variant,
        **_found(variant, standing),
        "step time": "" if ratio is None else f"x{ratio:.2f}",
        "seeds": str(len(runs)),
        **measured(numbers),
        "digest.data": runs[0].about["digests"]["data"],
        "mlflow.source.name": "dyt-bench",
        NOTE_TAG: _note(charts.name, judged_by, variant, runs, standing),
    }
    return Summary(
        key=f"summary {digest(of, about, ends, numbers)}",
        group=runs[0].group,
        charts=charts,
        of=of,
        name=f"{charts.short} {variant}" + (f": {tags['verdict']}" if standing is not None else ""),
        params={
            **{name: parameters[name] for name in shared},
            "seeds": ", ".join(map(str, seeds)),
        },
        tags=tags,
        rows=_rows(charts, metric, runs, ended, ends),
        ended=ended,
    )


def _costs(
    variant: str, runs: Sequence[EndedRun], standing: Standing | None, *, timed: bool
) -> dict[str, float]:
    """What the runs cost, as means over those where it was measured."""
    costs = {
        title: fmean(taken)
        for name, title in _COSTS.items()
        if (taken := [run.costs[name] for run in runs if name in run.costs])
    }
    # The baseline has no standing; its ratio to itself is 1.
    speed = standing.speed if standing is not None else None
    if speed is not None or (timed and variant == BASELINE):
        costs[_STEP_TIME] = 1.0 if speed is None else speed.ratio.middle
    return costs


def _found(variant: str, standing: Standing | None) -> dict[str, str]:
    """Tags with what was concluded."""
    if standing is None:
        return {"verdict": "baseline" if variant == BASELINE else "not compared", "gain": ""}
    comparison = standing.comparison
    return {
        "verdict": comparison.verdict,
        "gain": gain(comparison, standing.baseline_last),
    }


def _rows(
    charts: Group,
    metric: str,
    runs: Sequence[EndedRun],
    ended: float,
    ends: Mapping[str, float],
) -> list[dict[str, float]]:
    """The points of all charts: one of each end, curves over steps, and curves over layers."""
    curves = {
        charts.key(CURVES, metric): _mean_curve(runs, metric),
        charts.key(CURVES, "train/loss"): _mean_curve(runs, "train/loss"),
        charts.key(DIAGNOSTICS, "alpha by layer"): by_layer([r.result.alpha for r in runs]),
        charts.key(DIAGNOSTICS, "saturated share by layer"): by_layer(
            [r.result.saturation for r in runs]
        ),
    }
    rows: list[dict[str, float]] = [{"step": 0, "time": ended, **ends}]
    rows += [
        {"step": step, "time": ended, name: value}
        for name, curve in curves.items()
        for step, value in curve.items()
    ]
    return rows


def _mean_curve(runs: Sequence[EndedRun], metric: str) -> dict[int, float]:
    """Step -> mean over the runs that logged the metric there."""
    values: dict[int, list[float]] = {}
    for run in runs:
        for row in run.rows:
            if metric in row:
                values.setdefault(int(row["step"]), []).append(row[metric])
    return {step: fmean(found) for step, found in sorted(values.items())}


def _note(
    group: str,
    metric: Metric,
    variant: str,
    runs: Sequence[EndedRun],
    standing: Standing | None,
) -> str:
    """The summary's description, in Markdown: the verdict, and the seeds behind it."""
    mean = fmean(run.result.last[metric.name] for run in runs)
    parts = [
        f"**{escaped(group)}, {escaped(variant)}**: {metric.title} {mean:.4g}, "
        f"mean of {len(runs)} seeds."
    ]
    if standing is not None:
        comparison = standing.comparison
        bounds = ""
        if comparison.interval is not None:
            low, high = comparison.interval
            bounds = f" (95 % interval {low:+.4g} to {high:+.4g})"
        parts.append(
            f"Against the baseline, paired by seed: **{comparison.verdict}**, "
            f"gain {comparison.gain:+.4g}{bounds}; positive is better."
        )
    rows = [
        {
            "seed": str(run.seed),
            "last": f"{run.result.last[metric.name]:.4g}",
            "best": f"{run.result.best[metric.name]:.4g}",
        }
        for run in runs
    ]
    return "\n\n".join([*parts, markdown_table(rows)])
