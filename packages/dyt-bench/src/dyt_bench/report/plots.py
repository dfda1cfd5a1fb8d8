"""The report's figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

from dyt_bench.report.tables import Run, Standing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colour-blind safe (Okabe and Ito); the native norm is always the dark neutral one.
_NATIVE = "#444444"
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00")
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "figure.dpi": 130,
    "savefig.bbox": "tight",
}


def colours(norms: Sequence[str]) -> dict[str, str]:
    """Norm label -> colour, by order of appearance."""
    others = [norm for norm in dict.fromkeys(norms) if norm != "native"]
    picked = {norm: _COLOURS[i % len(_COLOURS)] for i, norm in enumerate(others)}
    return {"native": _NATIVE, **picked}


def plot_summary(standings: Sequence[Standing], path: Path) -> None:
    """Quality and step time of every norm against the native one, a row a model."""
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        names = list(dict.fromkeys(standing.name for standing in standings))
        figure = Figure(figsize=(8.4, 1.3 + 0.36 * len(names)))
        quality, clock = figure.subplots(1, 2, sharey=True)
        colour = colours([standing.norm for standing in standings])
        norms = list(dict.fromkeys(standing.norm for standing in standings))
        for standing in standings:
            offset = (norms.index(standing.norm) - (len(norms) - 1) / 2) * 0.25
            row = names.index(standing.name) + offset
            _quality_point(quality, standing, row, colour[standing.norm])
            _clock_point(clock, standing, row, colour[standing.norm])
        for norm in norms:
            quality.plot([], [], "o", color=colour[norm], label=norm)
        quality.set_yticks(range(len(names)), names)
        quality.set_ylim(len(names) - 0.5, -0.5)
        quality.axvline(0, color=_NATIVE, linewidth=1)
        quality.set_title("validation metric: change from the native norm")
        quality.set_xlabel("%, better to the right")
        quality.set_xscale("symlog", linthresh=1)
        gains = [100 * standing.relative_gain for standing in standings]
        quality.set_xlim(min(*gains, -1) * 1.6, max(*gains, 1) * 1.6)
        quality.xaxis.set_major_formatter("{x:+g}")
        clock.axvline(1, color=_NATIVE, linewidth=1)
        clock.set_title("time of a training step")
        clock.set_xlabel("ratio to the native norm, faster to the left")
        clock.tick_params(left=False)
        handles, labels = quality.get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper right", frameon=False, ncols=len(norms))
        figure.tight_layout(rect=(0, 0, 1, 0.94))
        figure.savefig(path)


def plot_curves(runs: Sequence[Run], metrics: dict[str, str], path: Path) -> None:
    """Training loss (thin) and validation metric (dots) by step, a pair of panels a model.

    Args:
        metrics: domain -> name of its validation metric.
    """
    from matplotlib.figure import Figure

    subjects = list(dict.fromkeys(run.subject for run in runs))
    colour = colours([run.norm for run in runs])
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(8.4, 1.9 * len(subjects)))
        grid = figure.subplots(len(subjects), 2, squeeze=False)
        for (train, val), subject in zip(grid, subjects, strict=True):
            metric = metrics[subject[0]]
            train.set_title(f"{subject[0]}/{subject[1]}: train/loss")
            val.set_title(f"{subject[0]}/{subject[1]}: {metric}")
            for run in runs:
                if run.subject == subject:
                    _curve(train, run, "train/loss", colour[run.norm], smooth=True)
                    _curve(val, run, metric, colour[run.norm], smooth=False)
        for axes in grid[-1]:
            axes.set_xlabel("step")
        handles = [grid[0][0].plot([], [], color=c, label=norm)[0] for norm, c in colour.items()]
        figure.legend(handles, list(colour), loc="upper right", frameon=False, ncols=len(colour))
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.15 / len(subjects)))
        figure.savefig(path)


def _quality_point(axes: "Axes", standing: Standing, row: float, colour: str) -> None:
    axes.plot(100 * standing.relative_gain, row, "o", color=colour)
    if standing.comparison.interval is not None:
        ends = [100 * end / abs(standing.native) for end in standing.comparison.interval]
        axes.plot(ends, [row, row], color=colour, linewidth=1.5)


def _clock_point(axes: "Axes", standing: Standing, row: float, colour: str) -> None:
    time = standing.time
    if not time:
        return
    floor = [time["time/aa_ratio_q1"], time["time/aa_ratio_q3"]]
    axes.plot(floor, [row, row], color="#BBBBBB", linewidth=7, solid_capstyle="butt", zorder=0)
    ends = [time["time/step_ratio_q1"], time["time/step_ratio_q3"]]
    axes.plot(ends, [row, row], color=colour, linewidth=1.5)
    axes.plot(time["time/step_ratio"], row, "o", color=colour)


def _curve(axes: "Axes", run: Run, metric: str, colour: str, *, smooth: bool) -> None:
    points = [(row["step"], row[metric]) for row in run.rows if metric in row]
    if not points:
        return
    steps, values = zip(*points, strict=True)
    if not smooth:
        axes.plot(steps, values, "o-", color=colour, markersize=3, linewidth=1)
        return
    axes.plot(steps, values, color=colour, linewidth=0.5, alpha=0.35)
    running, smoothed = values[0], []
    for value in values:
        running = 0.9 * running + 0.1 * value
        smoothed.append(running)
    axes.plot(steps, smoothed, color=colour, linewidth=1.2)
