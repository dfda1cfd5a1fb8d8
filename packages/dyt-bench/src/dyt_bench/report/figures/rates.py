"""The validation metric against the learning rate: where each variant is best, and how broadly."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

from dyt_bench.plugin.domain import Metric
from dyt_bench.plugin.reporting import Look
from dyt_bench.report.figures.style import Theme, looks, new_figure
from dyt_bench.verdicts.runs import EndedRun, MetricOf, TaskGroup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOTE = (
    "The metric at the end of the budget by the peak learning rate: means over seeds, each seed a "
    "dot, a ring at each variant's best rate. Rates were tried alike for all variants; where they "
    "chose the verdicts' rates, the trials had seeds and a part of the validation data of their "
    "own."
)
_COLUMNS = 3
# Variant -> rate -> values of its seeds.
Curves = Mapping[str, Mapping[float, Sequence[float]]]


def rate_curves(
    runs: Sequence[EndedRun], metric_of: MetricOf
) -> dict[TaskGroup, dict[str, dict[float, list[float]]]]:
    """Of tasks that ran at several rates: group, without its rate -> its `Curves`.

    Args:
        runs: of trials and others; those that have no value at the end are left out.
        metric_of: domain -> its validation metric.
    """
    found: dict[TaskGroup, dict[str, dict[float, list[float]]]] = {}
    for run in runs:
        value = run.result.last.get(metric_of(run.group.domain).name)
        if run.is_judged and value is not None and "variant_learning_rate" not in run.parameters:
            curves = found.setdefault(replace(run.group, learning_rate=0.0), {})
            rates = curves.setdefault(run.variant, {})
            rates.setdefault(run.group.learning_rate, []).append(value)
    return {
        group: curves
        for group, curves in found.items()
        if len({rate for rates in curves.values() for rate in rates}) > 1
    }


def sheet(
    curves: Mapping[TaskGroup, Curves],
    names: Mapping[TaskGroup, str],
    metric_of: MetricOf,
    theme: Theme,
) -> "Figure":
    """A panel a group, three a row."""
    look = looks([variant for own in curves.values() for variant in own], theme)
    rows = -(-len(curves) // _COLUMNS)
    figure = new_figure(8.8, 0.9 + 2.2 * rows, left=0.72, top=0.5, bottom=0.45)
    grid = figure.subplots(
        rows, _COLUMNS, squeeze=False, gridspec_kw={"hspace": 0.5, "wspace": 0.42}
    )
    panels = [axes for row in grid for axes in row]
    for axes in panels[len(curves) :]:
        axes.set_visible(False)
    for axes, (group, own) in zip(panels, curves.items(), strict=False):
        axes.set_title(names[group])
        draw(axes, own, metric_of(group.domain), look)
    handles = [
        panels[0].plot([], [], look[n].marker, linestyle="-", color=look[n].colour, label=n)[0]
        for n in look
    ]
    figure.legend(handles, list(look), loc="upper right", frameon=False, ncols=len(look))
    return figure


def draw(axes: "Axes", curves: Curves, metric: Metric, look: Mapping[str, Look]) -> None:
    """A line a variant, each seed a dot; a ring at each variant's best rate."""
    every = sorted({rate for own in curves.values() for rate in own})
    for variant, own in curves.items():
        rates = sorted(own)
        means = [fmean(own[rate]) for rate in rates]
        colour, marker = look[variant].colour, look[variant].marker
        axes.plot(rates, means, marker=marker, color=colour, linewidth=1.4, ms=3.5)
        for rate in rates:
            axes.plot([rate] * len(own[rate]), own[rate], ".", color=colour, alpha=0.45, ms=4)
        pick = max if metric.mode == "max" else min
        best = pick(range(len(rates)), key=means.__getitem__)
        axes.plot(
            rates[best], means[best], "o", markerfacecolor="none", markeredgecolor=colour, ms=9
        )
    axes.set_xscale("log")
    axes.set_xticks(every, [f"{rate:g}" for rate in every])
    axes.minorticks_off()
    axes.set_xlabel("learning rate")
    axes.set_ylabel(metric.title.partition(" (")[0])
