"""Runs -> standings: every variant against the baseline, per task group and over all groups."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from dyt_bench.plugin.domain import Metric
from dyt_bench.verdicts.budgets import still_learning
from dyt_bench.verdicts.collapse import NONE as NO_COLLAPSES
from dyt_bench.verdicts.collapse import Collapses
from dyt_bench.verdicts.runs import (
    BASELINE,
    EndedRun,
    Evidence,
    MetricOf,
    TaskGroup,
    Timing,
    by_group,
    group_names,
)
from dyt_bench.verdicts.speed import Interval, SpeedComparison, compare_speed, geometric_mean
from dyt_bench.verdicts.statistics import (
    CONFIDENCE,
    NO_VERDICTS,
    Comparison,
    compare,
    gains_of,
    judge,
    margin_of,
    pooled_spread,
)


@dataclass(frozen=True)
class Standing:
    """One line of the leaderboard: a variant against the baseline, in one task group.

    The validation metric is taken twice: at the end of the budget (``*_last``) and at each run's
    own best validation (``*_best``). Both are means over ``seeds``.
    """

    group: TaskGroup
    name: str  # of the group
    variant: str
    metric: Metric
    seeds: tuple[int, ...]  # those that baseline and variant both finished
    baseline_last: float
    variant_last: float
    comparison: Comparison  # of the last values
    baseline_best: float
    variant_best: float
    best: Comparison  # of the best values
    # Median over seeds: steps until validation is as good as the baseline's last value.
    baseline_steps: float
    variant_steps: float  # inf if most seeds do not get there
    speed: SpeedComparison | None  # None if not timed
    compiled_speed: SpeedComparison | None = None  # the same under torch.compile
    collapses: Collapses = NO_COLLAPSES  # runs that diverged, or learned no more than the blind
    expected: Mapping[str, float] | None = None  # variant -> what a paper reports
    expected_metric: str = ""  # which metric `expected` is about; empty: the domain's
    source: str = ""  # of `expected`
    blind: float | None = None  # what is reached without looking at the input
    reference: float | None = None  # what a simple method reaches
    strong: float | None = None  # what a better one reaches

    @property
    def learned(self) -> float | None:
        """What the baseline gained over the blind score, in the metric's unit; None: not known."""
        return None if self.blind is None else abs(self.baseline_last - self.blind)

    @property
    def share(self) -> float | None:
        """The gain as a share of `learned`."""
        return self.comparison.gain / self.learned if self.learned else None

    @property
    def time_to_quality(self) -> float | None:
        """Time until the variant is as good as the baseline's last value, as a ratio to the
        baseline's own: the ratio of the steps times the ratio of the step times.

        inf if the variant does not get there; None if it was not timed, or if the baseline ends
        no better than it starts.
        """
        if self.speed is None or not self.baseline_steps:
            return None
        return self.variant_steps / self.baseline_steps * self.speed.ratio.middle


@dataclass(frozen=True)
class Overall:
    """A variant over all task groups."""

    variant: str
    step_time: Interval  # geometric mean of the step-time ratios
    groups: int
    reached: int  # groups in which it reaches the baseline's quality within the budget
    verdicts: Mapping[str, int]  # word -> groups


def leaderboard(evidence: Evidence, metric_of: MetricOf) -> list[Standing]:
    """Every variant against the baseline, paired by seed, over the runs that are judged.

    Verdicts allow for all comparisons of the page (`judge`), and for the number of times that they
    were looked at while seeds were added.
    """
    names = group_names(run.group for run in evidence.runs)
    learning = still_learning(evidence, metric_of)
    standings: list[Standing] = []
    for group, runs in by_group(evidence.runs).items():
        metric = metric_of(group.domain)
        own = _of_group(group, names[group], runs, metric, evidence)
        standings += map(_without_verdict, own) if group in learning else own
    level = (1 - CONFIDENCE) / evidence.looks
    last = judge([standing.comparison for standing in standings], level=level)
    best = judge([standing.best for standing in standings], level=level)
    return [
        _without_praise(replace(standing, comparison=at_end, best=at_best))
        for standing, at_end, at_best in zip(standings, last, best, strict=True)
    ]


def _of_group(
    group: TaskGroup, name: str, runs: Sequence[EndedRun], metric: Metric, evidence: Evidence
) -> list[Standing]:
    """The standings of one group, each verdict as if it were the only one."""
    by_variant: dict[str, dict[int, EndedRun]] = {}
    for run in runs:
        if run.is_judged:
            by_variant.setdefault(run.variant, {})[run.seed] = run
    baseline = by_variant.pop(BASELINE, {})
    if not baseline:
        return []
    score = _scores(baseline.values(), metric)
    gone = {run.identity for run in runs if _collapsed(run, metric, score["blind"])}
    pairs: dict[str, list[tuple[EndedRun, EndedRun]]] = {}
    for variant, own in by_variant.items():
        seeds = sorted(baseline.keys() & own.keys())
        both = [(baseline[seed], own[seed]) for seed in seeds]
        whole = [pair for pair in both if not any(run.identity in gone for run in pair)]
        if chosen := whole or both:  # where all collapsed, the row shows their values
            pairs[variant] = chosen
    found = []
    for (variant, chosen), last, best in zip(
        pairs.items(),
        _compared(pairs, metric, score, at="last"),
        _compared(pairs, metric, score, at="best"),
        strict=True,
    ):
        standing = _standing(group, name, variant, metric, chosen, last, best, evidence)
        found.append(
            replace(
                standing,
                collapses=Collapses.of_runs(runs, variant, BASELINE, gone),
                blind=score["blind"],
                reference=score["reference"],
                strong=score["strong"],
            )
        )
    return found


def _scores(baseline: Iterable[EndedRun], metric: Metric) -> dict[str, float | None]:
    """What simple methods reach, as the runs recorded it: blind, reference and strong."""
    summary = next(iter(baseline)).result.summary
    return {name: summary.get(f"{name}/{metric.name}") for name in ("blind", "reference", "strong")}


def _collapsed(run: EndedRun, metric: Metric, blind: float | None) -> bool:
    """Whether the run diverged, or ended no better than without looking at the input."""
    if run.result.status == "diverged":
        return True
    ended = run.result.last.get(metric.name)
    if blind is None or ended is None:
        return False
    return run.is_judged and not metric.better(ended, blind)


def _compared(
    pairs: Mapping[str, Sequence[tuple[EndedRun, EndedRun]]],
    metric: Metric,
    score: Mapping[str, float | None],
    *,
    at: Literal["last", "best"],
) -> list[Comparison]:
    """Each variant's comparison at the end of the budget, or at each run's best validation."""
    values = {
        variant: [[getattr(pair[side].result, at)[metric.name] for pair in own] for side in (0, 1)]
        for variant, own in pairs.items()
    }
    gains = {variant: gains_of(a, b, metric) for variant, (a, b) in values.items()}
    pooled = pooled_spread(list(gains.values()))
    found = []
    for variant, own in gains.items():
        reached = statistics.fmean(values[variant][0])
        reference = score["reference"]
        comparison = compare(own, margin_of(metric, reached, score["blind"]), pooled=pooled)
        if reference is not None and not metric.better(reached, reference):
            comparison = replace(comparison, verdict="too little learned")
        found.append(comparison)
    return found


def overall(standings: Sequence[Standing]) -> list[Overall]:
    """Each variant over all groups; left out if it was timed in fewer than two of them."""
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
                reached=sum(math.isfinite(standing.variant_steps) for standing in own),
                verdicts={word: words.count(word) for word in dict.fromkeys(words)},
            )
        )
    return found


def performance_profile(standings: Sequence[Standing]) -> dict[str, list[float]]:
    """Variant -> for each group, its time to the baseline's quality over the shortest, sorted.

    The share of a list that is at most tau is the variant's performance profile at tau (Dolan and
    Moré 2002, arXiv cs/0102001); inf where the quality is not reached. Only groups in which
    every variant was timed, and none is as good before its first step, count.
    """
    variants = list(dict.fromkeys(standing.variant for standing in standings))
    profile: dict[str, list[float]] = {variant: [] for variant in [BASELINE, *variants]}
    for name in dict.fromkeys(standing.name for standing in standings):
        times = {BASELINE: 1.0}
        for standing in standings:
            if standing.name == name and standing.time_to_quality is not None:
                times[standing.variant] = standing.time_to_quality
        if times.keys() == profile.keys() and all(times.values()):
            shortest = min(times.values())
            for variant, time in times.items():
                profile[variant].append(time / shortest)
    return {variant: sorted(ratios) for variant, ratios in profile.items()}


def steps_to(run: EndedRun, metric: Metric, target: float) -> float:
    """Steps until validation is as good as ``target``; inf if it never is.

    Interpolated on the line between the last validation that is worse and the first that is not.
    """
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
    """The timings of these runs' tasks that hold both the baseline and the variant, one a seed."""
    tasks = dict.fromkeys(str(run.about["task_identity"]) for run in runs)
    found = [timings[task] for task in tasks if task in timings]
    return [timing for timing in found if variant in timing and next(iter(timing)) == BASELINE]


def _standing(
    group: TaskGroup,
    name: str,
    variant: str,
    metric: Metric,
    pairs: Sequence[tuple[EndedRun, EndedRun]],
    last: Comparison,
    best: Comparison,
    evidence: Evidence,
) -> Standing:
    """The standing from pairs of runs of one seed: the baseline's and the variant's."""
    key = metric.name
    baseline_last, variant_last = ([p[side].result.last[key] for p in pairs] for side in (0, 1))
    baseline_best, variant_best = ([p[side].result.best[key] for p in pairs] for side in (0, 1))
    steps = [
        (steps_to(baseline, metric, target), steps_to(own, metric, target))
        for (baseline, own), target in zip(pairs, baseline_last, strict=True)
    ]
    own_runs = [own for _, own in pairs]
    timings = task_timings(own_runs, evidence.timings, variant)
    compiled = task_timings(own_runs, evidence.compiled, variant)
    expected = evidence.expected.get(group.label, {})
    return Standing(
        group=group,
        name=name,
        variant=variant,
        metric=metric,
        seeds=tuple(own.seed for _, own in pairs),
        baseline_last=statistics.fmean(baseline_last),
        variant_last=statistics.fmean(variant_last),
        comparison=last,
        baseline_best=statistics.fmean(baseline_best),
        variant_best=statistics.fmean(variant_best),
        best=best,
        baseline_steps=statistics.median(baseline for baseline, _ in steps),
        variant_steps=statistics.median(own for _, own in steps),
        speed=compare_speed(timings, variant) if timings else None,
        compiled_speed=compare_speed(compiled, variant) if compiled else None,
        expected=expected.get("values"),
        expected_metric=str(expected.get("metric", "")),
        source=str(expected.get("source", "")),
    )


def _without_verdict(standing: Standing) -> Standing:
    """Effects alone: what a baseline that still learns is worth will differ with more steps."""
    last, best = (
        one if one.verdict in NO_VERDICTS else replace(one, verdict="still learning")
        for one in (standing.comparison, standing.best)
    )
    return replace(standing, comparison=last, best=best)


def _without_praise(standing: Standing) -> Standing:
    """The seeds that remain where others collapsed must not earn a good verdict alone."""
    if not standing.collapses.more:
        return standing

    def without(comparison: Comparison) -> Comparison:
        praised = comparison.verdict in ("better", "equivalent")
        return replace(comparison, verdict="undetermined", within=False) if praised else comparison

    return replace(standing, comparison=without(standing.comparison), best=without(standing.best))
