"""Runs -> standings: every norm against the native one, and all models together."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dyt_bench.discovery.domains import Discovery
from dyt_bench.plugin.domain import Metric
from dyt_bench.plugin.task import NATIVE
from dyt_bench.verdicts.results import Evidence, Run, Subject, Timing, subject_names
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
    """One line of the leaderboard: a norm in place of the native one, for one subject."""

    subject: Subject
    name: str
    norm: str
    metric: Metric
    seeds: tuple[int, ...]
    native: float  # mean over seeds at the end of the budget
    arm: float
    comparison: Comparison
    native_best: float  # mean over seeds at each run's own best validation
    arm_best: float
    best: Comparison
    native_steps: float  # median over seeds: steps to the value the native norm ends with
    arm_steps: float  # inf where most seeds do not reach it
    speed: SpeedComparison | None  # None if not timed
    diverged: int = 0  # seeds at which the native norm finished and this one did not
    expected: Mapping[str, float] | None = None  # norm -> what its source reports
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
        return self.arm_steps / self.native_steps * self.speed.ratio.middle


@dataclass(frozen=True)
class Overall:
    """A norm over all subjects."""

    norm: str
    step_time: Interval  # geometric mean of the step-time ratios
    subjects: int
    reached: int  # subjects where it comes to the native norm's quality within the budget
    verdicts: Mapping[str, int]  # word -> subjects


def leaderboard(evidence: Evidence, found: Discovery) -> list[Standing]:
    """Every norm against the native one, paired by seed; runs that are not judged are left out."""
    names = subject_names(run.subject for run in evidence.runs)
    standings = []
    for subject, runs in by_subject(evidence.runs).items():
        by_norm: dict[str, dict[int, Run]] = {}
        for run in runs:
            if run.is_judged:
                by_norm.setdefault(run.norm, {})[run.seed] = run
        native = by_norm.pop(NATIVE, {})
        metric = found.domain(subject.domain).metric
        for norm, arm in by_norm.items():
            seeds = sorted(native.keys() & arm.keys())
            if seeds:
                pairs = [(native[seed], arm[seed]) for seed in seeds]
                lost = sum(
                    run.result.status == "diverged" and run.norm == norm and run.seed in native
                    for run in runs
                )
                standing = _standing(subject, names[subject], norm, metric, pairs, evidence)
                standings.append(_with_diverged(standing, lost))
    return standings


def by_subject(runs: Sequence[Run]) -> dict[Subject, list[Run]]:
    grouped: dict[Subject, list[Run]] = {}
    for run in runs:
        grouped.setdefault(run.subject, []).append(run)
    return grouped


def overall(standings: Sequence[Standing]) -> list[Overall]:
    """Each norm over the subjects it was timed on; nothing is said from a single subject."""
    found = []
    for norm in dict.fromkeys(standing.norm for standing in standings):
        own = [standing for standing in standings if standing.norm == norm]
        timed = [standing.speed.ratio.middle for standing in own if standing.speed is not None]
        if len(timed) < 2:
            continue
        words = [standing.comparison.verdict for standing in own]
        found.append(
            Overall(
                norm=norm,
                step_time=geometric_mean(timed),
                subjects=len(own),
                reached=sum(math.isfinite(standing.arm_steps) for standing in own),
                verdicts={word: words.count(word) for word in dict.fromkeys(words)},
            )
        )
    return found


def performance_profile(standings: Sequence[Standing]) -> dict[str, list[float]]:
    """Norm -> for each subject, its time to the native quality over the fastest norm's, sorted.

    The share of a list that is at most tau is the norm's performance profile at tau (Dolan and
    Moré 2002, arXiv cs/0102001); inf where the quality is not reached. Only subjects on which
    every norm was timed count.
    """
    norms = list(dict.fromkeys(standing.norm for standing in standings))
    profile: dict[str, list[float]] = {norm: [] for norm in [NATIVE, *norms]}
    for name in dict.fromkeys(standing.name for standing in standings):
        times = {NATIVE: 1.0}
        for standing in standings:
            if standing.name == name and standing.time_to_quality is not None:
                times[standing.norm] = standing.time_to_quality
        if times.keys() == profile.keys():
            fastest = min(times.values())
            for norm, time in times.items():
                profile[norm].append(time / fastest)
    return {norm: sorted(ratios) for norm, ratios in profile.items()}


def steps_to(run: Run, metric: Metric, target: float) -> float:
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


def task_timings(runs: Sequence[Run], timings: Mapping[str, Timing], norm: str) -> list[Timing]:
    """The timings of these runs' tasks that hold the norm beside the native one, one a seed."""
    tasks = dict.fromkeys(str(run.about["task_identity"]) for run in runs)
    found = [timings[task] for task in tasks if task in timings]
    return [timing for timing in found if norm in timing and next(iter(timing)) == NATIVE]


def _standing(
    subject: Subject,
    name: str,
    norm: str,
    metric: Metric,
    pairs: list[tuple[Run, Run]],
    evidence: Evidence,
) -> Standing:
    key = metric.name
    native, arm = ([pair[side].result.last[key] for pair in pairs] for side in (0, 1))
    native_best, arm_best = ([pair[side].result.best[key] for pair in pairs] for side in (0, 1))
    steps = [
        (steps_to(own, metric, target), steps_to(other, metric, target))
        for (own, other), target in zip(pairs, native, strict=True)
    ]
    timings = task_timings([run for _, run in pairs], evidence.timings, norm)
    expected = evidence.expected.get(subject.question, {})
    return Standing(
        subject=subject,
        name=name,
        norm=norm,
        metric=metric,
        seeds=tuple(run.seed for _, run in pairs),
        native=statistics.fmean(native),
        arm=statistics.fmean(arm),
        comparison=compare(native, arm, metric),
        native_best=statistics.fmean(native_best),
        arm_best=statistics.fmean(arm_best),
        best=compare(native_best, arm_best, metric),
        native_steps=statistics.median(own for own, _ in steps),
        arm_steps=statistics.median(own for _, own in steps),
        speed=compare_speed(timings, norm) if timings else None,
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
