"""``run --until decided``: which runs to add, and when to stop. Pure functions, no machine."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dyt_bench.plugin.domain import Metric
from dyt_bench.plugin.task import Run, Task, Variant
from dyt_bench.verdicts.statistics import compare

# Looking again after every seed gives chance many tries: stopping at the first 95 % interval
# that clears zero calls equals different in 17 of 100 cases within ten seeds, 23 within twenty.
# Asking 99.5 % of every look but the last leaves that at 6 and 7
# (tests/dyt_bench/scheduling/test_stopping.py).
STANDS = 0.995
FIRST_SEEDS = 3
MOST_SEEDS = 20


@dataclass(frozen=True)
class RunScore:
    """A finished run, as far as stopping goes: its value and its cost."""

    value: float | None  # the domain's metric at the end of the budget; None if not finished
    seconds: float


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
    """One more seed of every open comparison, as far as the time left allows.

    A comparison is closed when its verdict holds at `STANDS`; below `FIRST_SEEDS` seeds all are
    open. A variant that diverged or failed at a seed is left as it is: no seed would change that.

    Args:
        runs: all that have run.
        outcomes: run identity -> how it ended.
        metrics: domain -> the metric it is judged by.
        seconds_left: of the budget; None: there is no limit.
    """
    wanted: list[tuple[float, list[Run]]] = []  # seconds, runs
    exhausted = 0
    for group in _by_group(runs):
        metric = metrics[group[0].task.domain]
        undecided = [
            variant for variant in _variants(group) if _is_open(group, variant, outcomes, metric)
        ]
        if not undecided:
            continue
        seeds = {run.task.seed for run in group}
        if len(seeds) >= MOST_SEEDS:
            exhausted += len(undecided)
            continue
        task = replace(group[0].task, seed=max(seeds) + 1)
        added = [Run(task=task, variant=variant) for variant in [Variant(), *undecided]]
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


def _is_open(
    group: Sequence[Run], variant: Variant, outcomes: Mapping[str, RunScore], metric: Metric
) -> bool:
    values: dict[Variant, dict[int, float]] = {Variant(): {}, variant: {}}
    for run in group:
        if run.variant in values:
            outcome = outcomes.get(run.identity)
            if outcome is None or outcome.value is None:
                return False
            values[run.variant][run.task.seed] = outcome.value
    native, value = values[Variant()], values[variant]
    seeds = sorted(native.keys() & value.keys())
    if len(seeds) < FIRST_SEEDS:
        return True
    pairs = [native[seed] for seed in seeds], [value[seed] for seed in seeds]
    return compare(*pairs, metric, confidence=STANDS).verdict == "undetermined"


def _cost(group: Sequence[Run], added: Sequence[Run], outcomes: Mapping[str, RunScore]) -> float:
    """Mean seconds over seeds that runs like these took."""
    return sum(
        statistics.fmean(
            outcomes[run.identity].seconds for run in group if run.variant == new.variant
        )
        for new in added
    )
