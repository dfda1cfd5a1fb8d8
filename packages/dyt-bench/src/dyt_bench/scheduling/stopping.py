"""``run --until decided``: which runs to add, and when to stop. Pure functions, no machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from dyt_bench.plugin.domain import Metric
from dyt_bench.plugin.task import Run, Task, Variant
from dyt_bench.verdicts.statistics import (
    CONFIDENCE,
    Comparison,
    compare,
    gains_of,
    judge,
    margin_of,
    pooled_spread,
)

# Verdicts are looked at after so many seeds, and each look may spend an equal part of the chance
# of a false one: looking after every seed would find differences that are not there in 17 of 100
# cases within ten seeds. This bound holds for any dependence between looks, and needs no library:
# of those for sequential tests that can be installed from wheels, none has a paired t-test.
LOOKS = (3, 5, 8, 12, 20)
MOST_SEEDS = LOOKS[-1]


@dataclass(frozen=True)
class RunScore:
    """A finished run, as far as stopping goes: its value and its cost."""

    value: float | None  # the domain's metric at the end of the budget; None if not finished
    seconds: float
    blind: float | None = None  # the score without looking at the input, if it is known


@dataclass(frozen=True)
class Decision:
    """What to run next, and why in one sentence; no runs: stop."""

    runs: tuple[Run, ...]
    why: str


def next_runs(
    runs: Sequence[Run],
    outcomes: Mapping[str, RunScore],
    metrics: Mapping[str, Metric],
    seconds_left: float | None,
) -> Decision:
    """The seeds up to the next look of every open comparison, as far as the time left allows.

    A comparison is closed when it has a verdict, which allows for all comparisons of the suite and
    for all `LOOKS`. A variant that diverged or failed at a seed is left as it is: no seed would
    change that.

    Args:
        runs: all that have run.
        outcomes: run identity -> how it ended.
        metrics: domain -> the metric it is judged by.
        seconds_left: of the budget; None: there is no limit.
    """
    wanted: list[tuple[float, list[Run]]] = []  # seconds, runs
    exhausted = 0
    undecided = _undecided(runs, outcomes, metrics)
    for group in _by_group(runs):
        variants = [variant for variant in _variants(group) if (_key(group), variant) in undecided]
        if not variants:
            continue
        seeds = {run.task.seed for run in group}
        look = next((look for look in LOOKS if look > len(seeds)), None)
        if look is None:
            exhausted += len(variants)
            continue
        tasks = [
            replace(group[0].task, seed=max(seeds) + 1 + more) for more in range(look - len(seeds))
        ]
        added = [
            Run(task=task, variant=variant) for task in tasks for variant in [Variant(), *variants]
        ]
        wanted.append((_cost(group, added, outcomes), added))
    if not wanted:
        rest = f", but for {exhausted} that {MOST_SEEDS} seeds left open" if exhausted else ""
        return Decision((), f"every verdict stands{rest}")
    one = len(wanted) == 1
    still_open = "1 model has open verdicts" if one else f"{len(wanted)} models have open verdicts"
    chosen: list[Run] = []
    spent = 0.0
    # The cheapest first: more verdicts for the same time.
    for seconds, added in sorted(wanted, key=lambda entry: entry[0]):
        if seconds_left is not None and spent + seconds > seconds_left:
            break
        spent += seconds
        chosen += added
    if not chosen:
        return Decision((), f"the budget is spent; {still_open}")
    return Decision(tuple(chosen), still_open)


def _by_group(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs of tasks that differ by their seed alone."""
    groups: dict[Task, list[Run]] = {}
    for run in runs:
        groups.setdefault(replace(run.task, seed=0), []).append(run)
    return list(groups.values())


def _variants(group: Sequence[Run]) -> list[Variant]:
    """The variants that are compared with the native one; none where that is missing."""
    variants = list(dict.fromkeys(run.variant for run in group))
    return (
        [variant for variant in variants if not variant.is_native] if Variant() in variants else []
    )


def _key(group: Sequence[Run]) -> Task:
    return replace(group[0].task, seed=0)


def _undecided(
    runs: Sequence[Run], outcomes: Mapping[str, RunScore], metrics: Mapping[str, Metric]
) -> set[tuple[Task, Variant]]:
    """The comparisons without a verdict, of those that more seeds could decide."""
    compared: dict[tuple[Task, Variant], Comparison] = {}
    for group in _by_group(runs):
        metric = metrics[group[0].task.domain]
        values = {
            variant: _pairs(group, variant, outcomes)
            for variant in _variants(group)
            if not _lost(group, variant, outcomes)
        }
        gains = {variant: gains_of(*own, metric) for variant, own in values.items()}
        pooled = pooled_spread(list(gains.values()))
        for variant, own in gains.items():
            margin = margin_of(metric, fmean(values[variant][0]), _blind(group, outcomes))
            compared[_key(group), variant] = compare(own, margin, pooled=pooled)
    judged = judge(list(compared.values()), level=(1 - CONFIDENCE) / len(LOOKS))
    return {
        key
        for key, comparison in zip(compared, judged, strict=True)
        if comparison.verdict == "undetermined"
    }


def _lost(group: Sequence[Run], variant: Variant, outcomes: Mapping[str, RunScore]) -> bool:
    """Whether a run of the variant, or a native one, has no value."""
    return any(
        run.variant in (variant, Variant())
        and (run.identity not in outcomes or outcomes[run.identity].value is None)
        for run in group
    )


def _pairs(
    group: Sequence[Run], variant: Variant, outcomes: Mapping[str, RunScore]
) -> tuple[list[float], list[float]]:
    """Values of the native and the variant's runs, of the seeds that both have."""
    values: dict[Variant, dict[int, float]] = {Variant(): {}, variant: {}}
    for run in group:
        value = outcomes[run.identity].value
        if run.variant in values and value is not None:
            values[run.variant][run.task.seed] = value
    native, own = values[Variant()], values[variant]
    seeds = sorted(native.keys() & own.keys())
    return [native[seed] for seed in seeds], [own[seed] for seed in seeds]


def _blind(group: Sequence[Run], outcomes: Mapping[str, RunScore]) -> float | None:
    known = [outcomes[run.identity].blind for run in group]
    return next((blind for blind in known if blind is not None), None)


def _cost(group: Sequence[Run], added: Sequence[Run], outcomes: Mapping[str, RunScore]) -> float:
    """Mean seconds over seeds that runs like these took."""
    return sum(
        fmean(outcomes[run.identity].seconds for run in group if run.variant == new.variant)
        for new in added
    )
