"""Learning curves: the mean over seeds with a band from the lowest to the highest."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dyt_bench.plugin.domain import Metric
from dyt_bench.plugin.reporting import Look
from dyt_bench.report.figures.style import Theme, looks, new_figure
from dyt_bench.verdicts.runs import EndedRun, TaskGroup
from dyt_bench.verdicts.standings import by_group

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAIN_LOSS = "train/loss"
_SMOOTHING = 0.9  # of the training loss, an exponential mean over the rows


def training(runs: Sequence[EndedRun], look: Mapping[str, Look], theme: Theme) -> "Figure":
    """Training loss of one group, smoothed."""
    figure = new_figure(4.2, 2.4)
    axes = figure.subplots()
    draw(axes, runs, TRAIN_LOSS, look, smooth=True)
    axes.set_xlabel("step")
    axes.set_ylabel(TRAIN_LOSS)
    axes.grid(axis="y", color=theme.band, linewidth=0.8)
    return figure


def validation(
    runs: Sequence[EndedRun],
    metric: Metric,
    look: Mapping[str, Look],
    theme: Theme,
    *,
    reference: float | None = None,
) -> "Figure":
    """The domain's metric of one group, with the reference score."""
    figure = new_figure(4.2, 2.4)
    axes = figure.subplots()
    draw(axes, runs, metric.name, look, smooth=False)
    if reference is not None:
        axes.axhline(reference, color=theme.faint, linestyle=":", linewidth=1.2)
        axes.annotate(
            "reference score",
            (1, reference),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            color=theme.faint,
            fontsize=8,
        )
    axes.set_xlabel("step")
    axes.set_ylabel(metric.name)
    axes.grid(axis="y", color=theme.band, linewidth=0.8)
    return figure


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
    height = 0.85 + 1.9 * len(groups)
    figure = new_figure(8.4, height, left=0.4, top=0.5, bottom=0.42)
    grid = figure.subplots(len(groups), 2, squeeze=False, gridspec_kw={"hspace": 0.42})
    for (left, right), (group, own) in zip(grid, groups.items(), strict=True):
        metric = metrics[group.domain]
        left.set_title(f"{names[group]}: {TRAIN_LOSS}")
        right.set_title(f"{names[group]}: {metric.name}")
        draw(left, own, TRAIN_LOSS, look, smooth=True)
        draw(right, own, metric.name, look, smooth=False)
    for axes in grid[-1]:
        axes.set_xlabel("step")
    handles = [
        grid[0][0].plot([], [], look[n].marker, linestyle="-", color=look[n].colour, label=n)[0]
        for n in look
    ]
    figure.legend(handles, list(look), loc="upper right", frameon=False, ncols=len(look))
    return figure


def draw(
    axes: "Axes", runs: Sequence[EndedRun], metric: str, look: Mapping[str, Look], *, smooth: bool
) -> None:
    """A line and a band for every variant among ``runs``, all of one group."""
    if not any(run.curve(metric) for run in runs):
        axes.text(0.5, 0.5, "nothing was logged", transform=axes.transAxes, ha="center")
    axes.locator_params(nbins=5)
    for variant, own in look.items():
        curves = [run.curve(metric) for run in runs if run.variant == variant]
        curves = [smoothed(curve) if smooth else curve for curve in curves if curve]
        if not curves:
            continue
        steps, middle, low, high = band(curves)
        if len(curves) > 1:
            axes.fill_between(steps, low, high, color=own.colour, alpha=0.18, linewidth=0)
        marker = "" if smooth else own.marker
        axes.plot(steps, middle, marker=marker, color=own.colour, linewidth=1.4, ms=3.5)


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
