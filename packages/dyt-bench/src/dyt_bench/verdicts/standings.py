"""Runs -> standings: every variant against the native one, and all models together."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dyt_bench.discovery.domains import Discovery
from dyt_bench.plugin.domain import Metric
from dyt_bench.plugin.task import NATIVE
from dyt_bench.verdicts.results import EndedRun, Evidence, TaskGroup, Timing, group_names
from dyt_bench.verdicts.statistics import (
    Comparison,
    Interval,
    SpeedComparison,
    compare,
    compare_speed,
    geometric_mean,
)


@dataclass(frozen=True)
class Standing:
    """One line of the leaderboard: a variant in place of the native one, for one group."""

    group: TaskGroup
    name: str
    variant: str
    metric: Metric
    seeds: tuple[int, ...]
    native: float  # mean over seeds at the end of the budget
    value: float
    comparison: Comparison
    native_best: float  # mean over seeds at each run's own best validation
    value_best: float
    best: Comparison
    native_steps: float  # median over seeds: steps to the value the native norm ends with
    value_steps: float  # inf where most seeds do not reach it
    speed: SpeedComparison | None  # None if not timed
    diverged: int = 0  # seeds at which the native norm finished and this one did not
    expected: Mapping[str, float] | None = None  # variant -> what its source reports
    expected_metric: str = ""  # what `expected` is of; empty: the domain's metric
    source: str = ""  # of `expected`
    reference: float | None = None  # what a simple method reaches

    @property
    def time_to_quality(self) -> float | None:
        """Time to the native norm's final value over its own: steps counted in training, the
        time of one taken in turn. inf if not reached; None if not timed, or if the native norm
        itself ends no better than it starts."""
        if self.speed is None or not self.native_steps:
            return None
        return self.value_steps / self.native_steps * self.speed.ratio.middle


@dataclass(frozen=True)
class Overall:
    """A variant over all groups."""

    variant: str
    step_time: Interval  # geometric mean of the step-time ratios
    groups: int
    reached: int  # groups where it comes to the native norm's quality within the budget
    verdicts: Mapping[str, int]  # word -> groups


def leaderboard(evidence: Evidence, found: Discovery) -> list[Standing]:
    """Every variant against the native one, paired by seed, of the runs that are judged."""
    names = group_names(run.group for run in evidence.runs)
    standings = []
    for group, runs in by_group(evidence.runs).items():
        by_variant: dict[str, dict[int, EndedRun]] = {}
        for run in runs:
            if run.is_judged:
                by_variant.setdefault(run.variant, {})[run.seed] = run
        native = by_variant.pop(NATIVE, {})
        metric = found.domain(group.domain).metric
        for variant, value in by_variant.items():
            seeds = sorted(native.keys() & value.keys())
            if seeds:
                pairs = [(native[seed], value[seed]) for seed in seeds]
                lost = sum(
                    run.result.status == "diverged"
                    and run.variant == variant
                    and run.seed in native
                    for run in runs
                )
                standing = _standing(group, names[group], variant, metric, pairs, evidence)
                standings.append(_with_diverged(standing, lost))
    return standings


def by_group(runs: Sequence[EndedRun]) -> dict[TaskGroup, list[EndedRun]]:
    grouped: dict[TaskGroup, list[EndedRun]] = {}
    for run in runs:
        grouped.setdefault(run.group, []).append(run)
    return grouped


def overall(standings: Sequence[Standing]) -> list[Overall]:
    """Each variant over the groups it was timed on; nothing is said from a single group."""
    found = []
    for variant in dict.fromkeys(standing.variant for standing in standings):
        own = [standing for standing in standings if standing.variant == variant]
        timed = [standing.speed.ratio.middle for standing in own if standing.speed is not None]
        if len(timed) < 2:
            continue
        words = [standing.comparison.verdict for standing in own]
        found.append(
            Overall(
                variant=variant,
                step_time=geometric_mean(timed),
                groups=len(own),
                reached=sum(math.isfinite(standing.value_steps) for standing in own),
                verdicts={word: words.count(word) for word in dict.fromkeys(words)},
            )
        )
    return found


def performance_profile(standings: Sequence[Standing]) -> dict[str, list[float]]:
    """Variant -> for each group, its time to the native quality over the fastest variant's, sorted.

    The share of a list that is at most tau is the variant's performance profile at tau (Dolan and
    Moré 2002, arXiv cs/0102001); inf where the quality is not reached. Only groups on which
    every variant was timed count.
    """
    variants = list(dict.fromkeys(standing.variant for standing in standings))
    profile: dict[str, list[float]] = {variant: [] for variant in [NATIVE, *variants]}
    for name in dict.fromkeys(standing.name for standing in standings):
        times = {NATIVE: 1.0}
        for standing in standings:
            if standing.name == name and standing.time_to_quality is not None:
                times[standing.variant] = standing.time_to_quality
        if times.keys() == profile.keys():
            fastest = min(times.values())
            for variant, time in times.items():
                profile[variant].append(time / fastest)
    return {variant: sorted(ratios) for variant, ratios in profile.items()}


def steps_to(run: EndedRun, metric: Metric, target: float) -> float:
    """Steps until a validation is as good as ``target``, read off the line between the two
    validations around it; inf if none is."""
    before: tuple[float, float] | None = None
    sign = 1 if metric.mode == "max" else -1
    goal = sign * target
    for step, value in run.curve(metric.name):
        if sign * value >= goal:
            if before is None:
                return step
            share = (target - before[1]) / (value - before[1])
            return before[0] + share * (step - before[0])
        before = (step, value)
    return math.inf


def task_timings(
    runs: Sequence[EndedRun], timings: Mapping[str, Timing], variant: str
) -> list[Timing]:
    """The timings of these runs' tasks that hold the variant beside the native one, one a seed."""
    tasks = dict.fromkeys(str(run.about["task_identity"]) for run in runs)
    found = [timings[task] for task in tasks if task in timings]
    return [timing for timing in found if variant in timing and next(iter(timing)) == NATIVE]


def _standing(
    group: TaskGroup,
    name: str,
    variant: str,
    metric: Metric,
    pairs: list[tuple[EndedRun, EndedRun]],
    evidence: Evidence,
) -> Standing:
    key = metric.name
    native, value = ([pair[side].result.last[key] for pair in pairs] for side in (0, 1))
    native_best, value_best = ([pair[side].result.best[key] for pair in pairs] for side in (0, 1))
    steps = [
        (steps_to(own, metric, target), steps_to(other, metric, target))
        for (own, other), target in zip(pairs, native, strict=True)
    ]
    timings = task_timings([run for _, run in pairs], evidence.timings, variant)
    expected = evidence.expected.get(group.label, {})
    return Standing(
        group=group,
        name=name,
        variant=variant,
        metric=metric,
        seeds=tuple(run.seed for _, run in pairs),
        native=statistics.fmean(native),
        value=statistics.fmean(value),
        comparison=compare(native, value, metric),
        native_best=statistics.fmean(native_best),
        value_best=statistics.fmean(value_best),
        best=compare(native_best, value_best, metric),
        native_steps=statistics.median(own for own, _ in steps),
        value_steps=statistics.median(own for _, own in steps),
        speed=compare_speed(timings, variant) if timings else None,
        expected=expected.get("values"),
        expected_metric=str(expected.get("metric", "")),
        source=str(expected.get("source", "")),
        reference=pairs[0][0].result.summary.get(f"reference/{key}"),
    )


def _with_diverged(standing: Standing, diverged: int) -> Standing:
    """Seeds that diverged have no value to average: what is left must not look better for it."""
    if not diverged:
        return standing

    def without_praise(comparison: Comparison) -> Comparison:
        praised = comparison.verdict in ("better", "equivalent")
        return replace(comparison, verdict="undetermined") if praised else comparison

    return replace(
        standing,
        diverged=diverged,
        comparison=without_praise(standing.comparison),
        best=without_praise(standing.best),
    )
