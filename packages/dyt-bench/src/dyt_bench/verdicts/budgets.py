"""One model at several budgets of steps: whether it has learned all it will, and what that changes.

A verdict holds at its budget. Two questions follow. Does the baseline still improve with more
steps, by more than the margin? Does the difference to the baseline shrink as training goes on?
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dyt_bench.plugin.domain import Metric
from dyt_bench.verdicts.runs import BASELINE, EndedRun, Evidence, MetricOf, TaskGroup, by_group
from dyt_bench.verdicts.statistics import MARGIN_SHARE, gains_of

__all__ = ["Budget", "Trend", "still_learning", "trends"]


@dataclass(frozen=True)
class Budget:
    """What a model reaches with so many steps. Shares are of what the baseline learned there."""

    steps: int
    seeds: int  # of the baseline
    baseline: float  # mean at the end of the budget, in the metric's unit
    gains: Mapping[str, float]  # variant -> mean gain over the baseline, as a share
    improvement: float | None = None  # the baseline's own at the next budget; None at the last

    @property
    def is_plateau(self) -> bool:
        """Whether the next budget improves the baseline by less than the margin."""
        return self.improvement is not None and self.improvement < MARGIN_SHARE


@dataclass(frozen=True)
class Trend:
    """A model's budgets, fewest steps first."""

    group: TaskGroup  # without steps
    metric: Metric
    budgets: Sequence[Budget]


def trends(runs: Sequence[EndedRun], metric_of: MetricOf) -> list[Trend]:
    """Models that ran with several numbers of steps, and else alike.

    Models whose blind score is not known are left out: there is nothing to take a share of.
    """
    by_model: dict[TaskGroup, dict[int, list[EndedRun]]] = {}
    for group, own in by_group([run for run in runs if run.is_judged]).items():
        by_model.setdefault(group.model_alone, {})[group.steps] = own
    found = []
    for model, by_steps in by_model.items():
        budgets = _budgets(by_steps, metric_of(model.domain))
        if len(budgets) > 1:
            found.append(Trend(model, metric_of(model.domain), budgets))
    return found


def still_learning(evidence: Evidence, metric_of: MetricOf) -> set[TaskGroup]:
    """Groups whose baseline more steps improve by the margin or more.

    Either the suite says so, or the page's runs with more steps show it. Of a model's largest
    budget the step before tells: what came to it by less than the margin will not grow by more.
    """
    found = {run.group for run in evidence.runs if run.group.budget in evidence.learning}
    beyond = set()
    for trend in trends([*evidence.runs, *evidence.longer], metric_of):
        *others, last = trend.budgets
        beyond |= {(trend.group, each.steps) for each in others if not each.is_plateau}
        if not others[-1].is_plateau:
            beyond.add((trend.group, last.steps))
    return found | {
        group for group in by_group(evidence.runs) if (group.model_alone, group.steps) in beyond
    }


def _budgets(by_steps: Mapping[int, Sequence[EndedRun]], metric: Metric) -> list[Budget]:
    blind = {steps: _blind(runs, metric) for steps, runs in by_steps.items()}
    ended = {
        steps: _at_the_end(by_steps[steps], metric, blind[steps]) for steps in sorted(by_steps)
    }
    kept = {steps: own for steps, own in ended.items() if own.get(BASELINE)}
    budgets: list[Budget] = []
    following = [*kept.values(), None][1:]  # none where no budget has a baseline
    for (steps, own), after in zip(kept.items(), following, strict=True):
        baseline = own.pop(BASELINE)
        reached = statistics.fmean(baseline.values())
        score = blind[steps]
        if score is None or reached == score:
            continue
        learned = abs(reached - score)
        shares = {name: _gain(baseline, values, metric, learned) for name, values in own.items()}
        budgets.append(
            Budget(
                steps=steps,
                seeds=len(baseline),
                baseline=reached,
                gains={name: share for name, share in shares.items() if share is not None},
                improvement=(
                    None if after is None else _gain(baseline, after[BASELINE], metric, learned)
                ),
            )
        )
    return budgets


def _at_the_end(
    runs: Sequence[EndedRun], metric: Metric, blind: float | None
) -> dict[str, dict[int, float]]:
    """Variant -> seed -> the metric at the end of the budget, of runs that did not collapse."""
    found: dict[str, dict[int, float]] = {}
    for run in runs:
        reached = run.result.last[metric.name]
        if blind is None or metric.better(reached, blind):
            found.setdefault(run.variant, {})[run.seed] = reached
    return found


def _blind(runs: Sequence[EndedRun], metric: Metric) -> float | None:
    scores = (run.result.summary.get(f"blind/{metric.name}") for run in runs)
    return next((score for score in scores if score is not None), None)


def _gain(
    before: Mapping[int, float], after: Mapping[int, float], metric: Metric, learned: float
) -> float | None:
    """The mean gain over the seeds that both have, as a share; None if they share none."""
    seeds = sorted(before.keys() & after.keys())
    if not seeds:
        return None
    gains = gains_of([before[s] for s in seeds], [after[s] for s in seeds], metric)
    return statistics.fmean(gains) / learned
