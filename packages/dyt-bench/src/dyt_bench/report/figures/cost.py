"""Bars of step time and peak memory by variant, with the baseline's as a line across."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dyt_bench.plugin.reporting import Look
from dyt_bench.report.figures.style import Theme, new_figure, room_for
from dyt_bench.verdicts.runs import EndedRun, Timing
from dyt_bench.verdicts.speed import compare_speed
from dyt_bench.verdicts.standings import BASELINE, task_timings

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Cost:
    """One variant's bars; None where nothing was measured."""

    variant: str
    step_ms: float | None
    step_interval_ms: tuple[float, float] | None  # 95 %, of the ratio to the baseline, in ms
    memory_mib: float | None


def costs(runs: Sequence[EndedRun], timings: Mapping[str, Timing]) -> list[Cost]:
    """The costs of one group's variants, the baseline first.

    Step time is the baseline's median over interleaved rounds times the variant's ratio, or the
    median of training itself if the tasks were not timed in turn. Memory is the mean over seeds.
    """
    variants = sorted(
        dict.fromkeys(run.variant for run in runs), key=lambda variant: variant != BASELINE
    )
    baseline = task_timings(runs, timings, BASELINE)
    unit = 1e3 * statistics.median(s for t in baseline for s in t[BASELINE]) if baseline else None
    found = []
    for variant in variants:
        own = [run for run in runs if run.variant == variant]
        timed = task_timings(own, timings, variant)
        interval = None
        if unit is not None and variant == BASELINE:
            step: float | None = unit
        elif unit is not None and timed:
            middle, low, high = compare_speed(timed, variant).ratio
            step, interval = unit * middle, (unit * low, unit * high)
        else:
            step = _mean(own, "time/step_ms_median")
        found.append(Cost(variant, step, interval, _mean(own, "memory/peak_mib")))
    return found


def bars(found: Sequence[Cost], look: Mapping[str, Look], theme: Theme) -> "Figure | None":
    """Step time and memory side by side, those that were measured; None if neither was."""
    panels = (
        ("training step, ms", [(cost.step_ms, cost.step_interval_ms) for cost in found]),
        ("peak memory, MiB", [(cost.memory_mib, None) for cost in found]),
    )
    measured = [panel for panel in panels if any(value is not None for value, _ in panel[1])]
    if not measured:
        return None
    left = room_for([cost.variant for cost in found])
    figure = new_figure(left + 1.7 * len(measured), 0.65 + 0.27 * len(found), left=left, right=0.15)
    row_of_axes = figure.subplots(1, len(measured), sharey=True, squeeze=False)[0]
    for axes, (title, values) in zip(row_of_axes, measured, strict=True):
        for row, (cost, (value, interval)) in enumerate(zip(found, values, strict=True)):
            if value is None:
                continue
            colour = look[cost.variant].colour
            axes.barh(row, value, height=0.62, color=colour, alpha=0.75, linewidth=0)
            if interval is not None:
                axes.plot(interval, [row, row], color=theme.ink, linewidth=1.6)
            if cost.variant == BASELINE:
                axes.axvline(value, color=theme.ink, linewidth=1, linestyle="--")
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.tick_params(left=False)
        axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel(title)
    row_of_axes[0].set_yticks(range(len(found)), [cost.variant for cost in found])
    return figure


def _mean(runs: Sequence[EndedRun], key: str) -> float | None:
    values = [run.costs[key] for run in runs if key in run.costs]
    return statistics.fmean(values) if values else None
