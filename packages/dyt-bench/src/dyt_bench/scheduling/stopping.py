"""``run --until decided``: which cells to add, and when to stop. Pure functions, no machine."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dyt_bench.plugin.domain import Metric
from dyt_bench.plugin.task import Cell, Norm, Task
from dyt_bench.verdicts.statistics import compare

# Looking again after every seed gives chance many tries: stopping at the first 95 % interval
# that clears zero calls equals different in 17 of 100 cases within ten seeds, 23 within twenty.
# Asking 99.5 % of every look but the last leaves that at 6 and 7
# (tests/dyt_bench/test_deciding.py).
STANDS = 0.995
FIRST_SEEDS = 3
MOST_SEEDS = 20


@dataclass(frozen=True)
class Outcome:
    """How a cell ended, as far as deciding goes."""

    value: float | None  # the domain's metric at the end of the budget; None if not finished
    seconds: float


@dataclass(frozen=True)
class Decision:
    """What to run next; no cells: stop, and why in one sentence."""

    cells: tuple[Cell, ...]
    why: str


def next_cells(
    cells: Sequence[Cell],
    outcomes: Mapping[str, Outcome],
    metrics: Mapping[str, Metric],
    seconds_left: float | None,
) -> Decision:
    """One more seed of every comparison that does not stand, as far as the time left allows.

    A comparison stands when its verdict holds at `STANDS`; below `FIRST_SEEDS` seeds none does.
    An arm that diverged or failed at some seed is not asked again: no seed would mend it.

    Args:
        cells: all that have run.
        outcomes: cell identity -> how it ended.
        metrics: domain -> the metric it is judged by.
        seconds_left: of the budget; None: there is no limit.
    """
    wanted: list[tuple[float, list[Cell]]] = []  # seconds, cells
    exhausted = 0
    for group in _by_question(cells):
        metric = metrics[group[0].task.domain]
        undecided = [norm for norm in _arms(group) if _is_open(group, norm, outcomes, metric)]
        if not undecided:
            continue
        seeds = {cell.task.seed for cell in group}
        if len(seeds) >= MOST_SEEDS:
            exhausted += len(undecided)
            continue
        task = replace(group[0].task, seed=max(seeds) + 1)
        added = [Cell(task=task, norm=norm) for norm in [Norm(), *undecided]]
        wanted.append((_cost(group, added, outcomes), added))
    if not wanted:
        rest = f", but for {exhausted} that {MOST_SEEDS} seeds left open" if exhausted else ""
        return Decision((), f"every verdict stands{rest}")
    one = len(wanted) == 1
    still_open = "1 model has open verdicts" if one else f"{len(wanted)} models have open verdicts"
    chosen: list[Cell] = []
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


def _by_question(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cells of tasks that differ by their seed alone."""
    groups: dict[Task, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(replace(cell.task, seed=0), []).append(cell)
    return list(groups.values())


def _arms(group: Sequence[Cell]) -> list[Norm]:
    """The norms that are compared with the native one; none where that is missing."""
    norms = list(dict.fromkeys(cell.norm for cell in group))
    return [norm for norm in norms if not norm.is_native] if Norm() in norms else []


def _is_open(
    group: Sequence[Cell], norm: Norm, outcomes: Mapping[str, Outcome], metric: Metric
) -> bool:
    values: dict[Norm, dict[int, float]] = {Norm(): {}, norm: {}}
    for cell in group:
        if cell.norm in values:
            outcome = outcomes.get(cell.identity)
            if outcome is None or outcome.value is None:
                return False
            values[cell.norm][cell.task.seed] = outcome.value
    native, arm = values[Norm()], values[norm]
    seeds = sorted(native.keys() & arm.keys())
    if len(seeds) < FIRST_SEEDS:
        return True
    pairs = [native[seed] for seed in seeds], [arm[seed] for seed in seeds]
    return compare(*pairs, metric, confidence=STANDS).verdict == "undetermined"


def _cost(group: Sequence[Cell], added: Sequence[Cell], outcomes: Mapping[str, Outcome]) -> float:
    """Seconds that cells like these took, on average over the seeds that have run."""
    return sum(
        statistics.fmean(outcomes[cell.identity].seconds for cell in group if cell.norm == new.norm)
        for new in added
    )
