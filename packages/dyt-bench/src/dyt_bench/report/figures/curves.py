"""Learning curves: the mean over seeds with a band from the lowest to the highest."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dyt_bench.plugin.domain import Metric
from dyt_bench.plugin.reporting import Look
from dyt_bench.report.figures.style import Theme, looks, new_figure
from dyt_bench.verdicts.runs import EndedRun, TaskGroup, by_group
from dyt_bench.verdicts.words import arrow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAIN_LOSS = "train/loss"
_WIDE = 45  # characters of a title, from which on it is small and takes two lines
_SMOOTHING = 0.9  # of the training loss, an exponential mean over the rows


def sheet(
    runs: Sequence[EndedRun],
    names: Mapping[TaskGroup, str],
    metrics: Mapping[str, Metric],
    theme: Theme,
) -> "Figure":
    """Training loss and validation of every group, a row of two panels each.

    Args:
        names: group -> its name.
        metrics: domain -> its validation metric.
    """
    groups = by_group(runs)
    look = looks([run.variant for run in runs], theme)
    titles = {group: _title(names[group], metrics[group.domain]) for group in groups}
    top = 0.64 if "\n" in next(iter(titles.values())) else 0.5  # below the legend
    height = top + 0.35 + 1.9 * len(groups)
    figure = new_figure(8.8, height, left=0.55, top=top, bottom=0.42)
    grid = figure.subplots(
        len(groups), 2, squeeze=False, gridspec_kw={"hspace": 0.45, "wspace": 0.2}
    )
    for (left, right), (group, own) in zip(grid, groups.items(), strict=True):
        metric = metrics[group.domain]
        left.set_title(f"{names[group]}: training loss ↓")
        right.set_title(titles[group], fontsize=8 if "\n" in titles[group] else 10)
        draw(left, own, TRAIN_LOSS, look, smooth=True)
        draw(right, own, metric.name, look, smooth=False)
    for axes in grid[-1]:
        axes.set_xlabel("training step")
    handles = [
        grid[0][0].plot([], [], look[n].marker, linestyle="-", color=look[n].colour, label=n)[0]
        for n in look
    ]
    figure.legend(handles, list(look), loc="upper right", frameon=False, ncols=len(look))
    return figure


def _title(name: str, metric: Metric) -> str:
    """The model and the metric; on two lines where one would be wider than the panel."""
    words = f"{metric.title} {arrow(metric)}"
    return f"{name}: {words}" if len(name) + len(words) < _WIDE - 2 else f"{name}:\n{words}"


def draw(
    axes: "Axes", runs: Sequence[EndedRun], metric: str, look: Mapping[str, Look], *, smooth: bool
) -> None:
    """A line and a band for every variant among ``runs``, all of one group.

    The axis is that of the last half: at the start's scale the ends could not be told apart.
    """
    if not any(run.curve(metric) for run in runs):
        axes.text(0.5, 0.5, "nothing was logged", transform=axes.transAxes, ha="center")
    axes.locator_params(nbins=5)
    shown: list[float] = []
    for variant, own in look.items():
        curves = [run.curve(metric) for run in runs if run.variant == variant]
        curves = [smoothed(curve) if smooth else curve for curve in curves if curve]
        if not curves:
            continue
        steps, middle, low, high = band(curves)
        if len(curves) > 1:
            axes.fill_between(steps, low, high, color=own.colour, alpha=0.18, linewidth=0)
        late = [i for i, step in enumerate(steps) if 2 * step >= steps[-1]]
        shown += [values[i] for i in late for values in (low, high)]
        marker = "" if smooth else own.marker
        axes.plot(steps, middle, marker=marker, color=own.colour, linewidth=1.4, ms=3.5)
    if (finite := [value for value in shown if math.isfinite(value)]) and max(finite) > min(finite):
        pad = 0.08 * (max(finite) - min(finite))
        axes.set_ylim(min(finite) - pad, max(finite) + pad)


def band(
    curves: Sequence[Sequence[tuple[float, float]]],
) -> tuple[list[float], list[float], list[float], list[float]]:
    """Steps; and at each the mean, minimum and maximum of the curves that have a value there."""
    values: dict[float, list[float]] = {}
    for curve in curves:
        for step, value in curve:
            values.setdefault(step, []).append(value)
    steps = sorted(values)
    columns = [values[step] for step in steps]
    return (
        steps,
        [sum(column) / len(column) for column in columns],
        [min(column) for column in columns],
        [max(column) for column in columns],
    )


def smoothed(curve: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The exponential mean of a curve, which must not be empty."""
    running, out = curve[0][1], []
    for step, value in curve:
        running = _SMOOTHING * running + (1 - _SMOOTHING) * value
        out.append((step, running))
    return out
