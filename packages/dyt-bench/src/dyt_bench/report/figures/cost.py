"""What a norm costs: bars of step time and memory, the native norm's as a line across."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dyt_bench.cell import NATIVE
from dyt_bench.report.figures.style import Look, Theme, new_figure, room_for
from dyt_bench.report.runs import Run, Timing
from dyt_bench.report.standings import task_timings
from dyt_bench.statistics import compare_speed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Cost:
    """One norm's bars; None where nothing was measured."""

    norm: str
    step_ms: float | None
    step_interval_ms: tuple[float, float] | None  # of the ratio to the native norm, in its ms
    memory_mib: float | None


def costs(runs: Sequence[Run], timings: Mapping[str, Timing]) -> list[Cost]:
    """Of one subject, norm by norm, the native one first.

    Step time is the native norm's median over interleaved rounds times the norm's ratio; where
    tasks were not timed in turn, the median of training itself. Memory is the mean over seeds.
    """
    norms = sorted(dict.fromkeys(run.norm for run in runs), key=lambda norm: norm != NATIVE)
    native = task_timings(runs, timings, NATIVE)
    unit = 1e3 * statistics.median(s for t in native for s in t[NATIVE]) if native else None
    found = []
    for norm in norms:
        own = [run for run in runs if run.norm == norm]
        timed = task_timings(own, timings, norm)
        interval = None
        if unit is not None and norm == NATIVE:
            step: float | None = unit
        elif unit is not None and timed:
            middle, low, high = compare_speed(timed, norm).ratio
            step, interval = unit * middle, (unit * low, unit * high)
        else:
            step = _mean(own, "time/step_ms_median")
        found.append(Cost(norm, step, interval, _mean(own, "memory/peak_mib")))
    return found


def bars(found: Sequence[Cost], look: Mapping[str, Look], theme: Theme) -> "Figure":
    """Step time and memory side by side."""
    left = room_for([cost.norm for cost in found])
    figure = new_figure(left + 3.4, 0.65 + 0.27 * len(found), left=left, right=0.15)
    clock, memory = figure.subplots(1, 2, sharey=True)
    for row, cost in enumerate(found):
        _bar(clock, row, cost.step_ms, look[cost.norm], theme)
        if cost.step_interval_ms is not None:
            clock.plot(cost.step_interval_ms, [row, row], color=theme.ink, linewidth=1.6)
        _bar(memory, row, cost.memory_mib, look[cost.norm], theme)
    for axes, native in ((clock, found[0].step_ms), (memory, found[0].memory_mib)):
        if found[0].norm == NATIVE and native is not None:
            axes.axvline(native, color=theme.ink, linewidth=1, linestyle="--")
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.tick_params(left=False)
        axes.locator_params(axis="x", nbins=4)
    clock.set_yticks(range(len(found)), [cost.norm for cost in found])
    clock.set_xlabel("training step, ms")
    memory.set_xlabel("peak memory, MiB")
    return figure


def _bar(axes: "Axes", row: int, value: float | None, look: Look, theme: Theme) -> None:
    if value is not None:
        axes.barh(row, value, height=0.62, color=look.colour, alpha=0.75, linewidth=0)


def _mean(runs: Sequence[Run], key: str) -> float | None:
    values = [run.result.summary[key] for run in runs if key in run.result.summary]
    return statistics.fmean(values) if values else None
