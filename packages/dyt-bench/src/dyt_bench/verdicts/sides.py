"""Two sides of runs, of two workspaces or commits, compared run by run."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dyt_bench.plugin.domain import Metric
from dyt_bench.verdicts.runs import BASELINE, EndedRun, MetricOf, group_names
from dyt_bench.verdicts.statistics import Comparison, compare, gains_of, margin_of


@dataclass(frozen=True)
class SideBySide:
    """One model with one variant on both sides, paired by seed."""

    name: str  # of the task group
    variant: str
    metric: Metric
    seeds: tuple[int, ...]
    first: float  # mean over seeds of the metric at the end of the budget
    second: float
    comparison: Comparison  # gains are positive where the second side is better
    step_ratio: float | None  # the second side's median step time over the first's
    same: bool  # whether every pair is one and the same run
    different: Mapping[str, tuple[str, str]]  # digest or version -> both values, where they differ


def side_by_side(
    first: Sequence[EndedRun], second: Sequence[EndedRun], metric_of: MetricOf
) -> list[SideBySide]:
    """Every model and variant that both sides have judged runs of, at the same seed and budget.

    Two single runs are paired whatever they are, if they are judged by the same metric.
    """
    first, second = ([run for run in side if run.is_judged] for side in (first, second))
    names = group_names(run.group for run in [*first, *second])
    if len(first) == len(second) == 1 and first[0].group.domain == second[0].group.domain:
        pairs = {(first[0].group, _both(first[0], second[0])): [(first[0], second[0])]}
    else:
        others = {(run.group, run.variant, run.seed): run for run in second}
        pairs = {}
        for run in first:
            if (other := others.get((run.group, run.variant, run.seed))) is not None:
                pairs.setdefault((run.group, run.variant), []).append((run, other))
    rows = [
        _row(names[group], variant, metric_of(group.domain), own)
        for (group, variant), own in pairs.items()
    ]
    return sorted(rows, key=lambda row: (row.name, row.variant != BASELINE, row.variant))


def _both(a: EndedRun, b: EndedRun) -> str:
    return a.variant if a.variant == b.variant else f"{a.variant} → {b.variant}"


def _row(
    name: str, variant: str, metric: Metric, pairs: Sequence[tuple[EndedRun, EndedRun]]
) -> SideBySide:
    a, b = ([pair[side].result.last[metric.name] for pair in pairs] for side in (0, 1))
    first, second = statistics.fmean(a), statistics.fmean(b)
    blind = pairs[0][0].result.summary.get(f"blind/{metric.name}")
    compared = compare(gains_of(a, b, metric), margin_of(metric, first, blind))
    return SideBySide(
        name,
        variant,
        metric,
        tuple(a.seed for a, _ in pairs),
        first,
        second,
        compared,
        _ratio(pairs),
        all(a.identity == b.identity for a, b in pairs),
        _different(pairs[0]),
    )


def _ratio(pairs: Sequence[tuple[EndedRun, EndedRun]]) -> float | None:
    key = "time/step_ms_median"
    timed = [(a.costs[key], b.costs[key]) for a, b in pairs if key in a.costs and key in b.costs]
    return statistics.median(b / a for a, b in timed) if timed else None


def _different(pair: tuple[EndedRun, EndedRun]) -> dict[str, tuple[str, str]]:
    """Digests, versions and parameters in which a pair differs."""
    a, b = (
        {
            **run.parameters,
            **run.about["environment"],
            **{f"{key} digest": value for key, value in run.about["digests"].items()},
        }
        for run in pair
    )
    keys = [key for key in {**a, **b} if not key.endswith("_digest")]
    return {
        key: (str(a.get(key, "")), str(b.get(key, "")))
        for key in keys
        if str(a.get(key, "")) != str(b.get(key, ""))
    }
