"""Effects: forest plots by domain, step-time ratios, and the performance profile."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dyt_bench.plugin.reporting import Look
from dyt_bench.report.figures.style import Theme, looks, new_figure, room_for
from dyt_bench.verdicts.standings import Standing
from dyt_bench.verdicts.statistics import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW = 0.34  # inches
_CLIPPED = 1.9  # the axis ends at so many times the widest effect


def forest(standings: Sequence[Standing], look: Mapping[str, Look], theme: Theme) -> "Figure":
    """Gains of one domain's models in the metric's unit, with intervals and the margin."""
    metric = standings[0].metric
    labels = [row_label(standing) for standing in standings]
    left = room_for(labels)
    figure = new_figure(left + 3.4, 0.6 + _ROW * len(standings), left=left, right=0.95)
    axes = figure.subplots()
    effects = [
        abs(judged.gain)
        for standing in standings
        for judged in (standing.comparison, standing.best)
    ]
    far = _CLIPPED * max(*effects, *(standing.comparison.margin for standing in standings))
    axes.set_xlim(-far, far)
    for row, standing in enumerate(standings):
        margin = standing.comparison.margin
        axes.barh(row, 2 * margin, 1.0, -margin, color=theme.band, linewidth=0, zorder=0)
    axes.axvline(0, color=theme.ink, linewidth=0.8, zorder=1)
    for row, standing in enumerate(standings):
        own = look[standing.variant]
        effect(axes, standing.best, row + 0.2, own, far, filled=False, paper=theme.paper)
        effect(axes, standing.comparison, row - 0.1, own, far, filled=True, paper=theme.paper)
        axes.text(
            1.02,
            row,
            standing.comparison.verdict,
            transform=axes.get_yaxis_transform(),
            va="center",
        )
    axes.set_yticks(range(len(standings)), labels)
    axes.tick_params(left=False)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(standings) - 0.45, -0.55)
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:+g}" if x else "0")
    axes.set_xlabel(f"gain in {metric.name}, better to the right")
    return figure


def row_label(standing: Standing) -> str:
    """``vit · dyt``."""
    return f"{standing.name.partition('/')[2]} · {standing.variant}"


def effect(
    axes: "Axes",
    judged: Comparison,
    row: float,
    look: Look,
    far: float,
    *,
    filled: bool,
    paper: str,
    scale: float = 1.0,
) -> None:
    """A gain with its interval; an arrow where the interval ends outside the axis."""
    if judged.interval is not None:
        low, high = (scale * end for end in judged.interval)
        inside = [max(low, -far), min(high, far)]
        axes.plot(inside, [row, row], color=look.colour, linewidth=1.8 if filled else 1)
        for end, beyond, marker in ((-far, low < -far, "<"), (far, high > far, ">")):
            if beyond:
                axes.plot(end, row, marker, color=look.colour, markersize=4, clip_on=False)
    axes.plot(
        scale * judged.gain,
        row,
        look.marker,
        color=look.colour,
        markerfacecolor=look.colour if filled else paper,
        markersize=6 if filled else 4.5,
        zorder=3,
    )


def profile(
    ratios: Mapping[str, Sequence[float]], look: Mapping[str, Look], theme: Theme
) -> "Figure":
    """The share of models on which a variant reaches the baseline's quality within tau times the
    time of the fastest variant, as a step function of tau."""
    figure = new_figure(4.2, 2.4)
    axes = figure.subplots()
    finite = [ratio for own in ratios.values() for ratio in own if math.isfinite(ratio)]
    end = max(1.5, 1.15 * max(finite, default=1.0))
    for variant, own in ratios.items():
        steps = sorted(ratio for ratio in own if math.isfinite(ratio))
        shares = [i / len(own) for i in range(len(steps) + 1)]
        axes.step(
            [1.0, *steps, end],
            [shares[0], *shares[1:], shares[-1]] if steps else [0.0, 0.0],
            where="post",
            color=look[variant].colour,
            linewidth=1.8,
        )
    axes.set_ylim(-0.02, 1.04)
    axes.set_xlim(1, end)
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:.0%}")
    axes.set_xlabel("time to baseline quality / the fastest variant's")
    axes.set_ylabel("share of models")
    axes.grid(axis="y", color=theme.band, linewidth=0.8)
    return figure


def summary(standings: Sequence[Standing], theme: Theme) -> "Figure":
    """Quality and step time of every variant against the baseline, a row a model."""
    names = list(dict.fromkeys(standing.name for standing in standings))
    variants = list(dict.fromkeys(standing.variant for standing in standings))
    look = looks(variants, theme)
    left = room_for(names)
    lines = max(sum(s.name == name for s in standings) for name in names)
    height = 1.25 + 0.2 * len(names) * (1 + lines)
    figure = new_figure(8.4, height, left=left, top=0.62, bottom=0.52)
    quality, clock = figure.subplots(1, 2, sharey=True)
    gains = [100 * s.comparison.gain / abs(s.baseline_last) for s in standings if s.baseline_last]
    far = max(1.0, *(abs(gain) for gain in gains)) * 1.9
    of_model = {name: [s.variant for s in standings if s.name == name] for name in names}
    apart = 0.8 / max(map(len, of_model.values()))  # of a model's lines, which stay in its row
    for standing in standings:
        own_variants = of_model[standing.name]
        place = own_variants.index(standing.variant) - (len(own_variants) - 1) / 2
        row = names.index(standing.name) + apart * place
        own = look[standing.variant]
        if standing.baseline_last:
            share = 100 / abs(standing.baseline_last)
            judged = standing.comparison
            effect(quality, judged, row, own, far, filled=True, paper=theme.paper, scale=share)
        ratio(clock, standing, row, own, theme)
    for variant in variants:
        quality.plot([], [], look[variant].marker, color=look[variant].colour, label=variant)
    quality.set_yticks(range(len(names)), names)
    quality.set_ylim(len(names) - 0.5, -0.5)
    quality.set_xscale("symlog", linthresh=1)
    quality.set_xlim(-far, far)
    quality.xaxis.set_major_formatter(lambda x, _: f"{x:+g}" if x else "0")
    quality.axvline(0, color=theme.ink, linewidth=0.8)
    quality.set_title("validation metric: change from the baseline", pad=10)
    quality.set_xlabel("% of the baseline's value, better to the right")
    clock.axvline(1, color=theme.ink, linewidth=0.8)
    clock.set_title("time of a training step", pad=10)
    clock.set_xlabel("ratio to the baseline, faster to the left")
    for axes in (quality, clock):
        axes.tick_params(left=False)
        axes.spines["left"].set_visible(False)
        for row in range(1, len(names)):
            axes.axhline(row - 0.5, color=theme.band, linewidth=0.8, zorder=0)
    handles, labels = quality.get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", frameon=False, ncols=len(variants))
    return figure


def ratio(axes: "Axes", standing: Standing, row: float, look: Look, theme: Theme) -> None:
    """A step-time ratio with its interval, on a band within which no difference is claimed."""
    if standing.speed is None:
        return
    floor = standing.speed.floor
    axes.plot(
        [1 / floor, floor],
        [row, row],
        color=theme.band,
        linewidth=8,
        solid_capstyle="butt",
        zorder=0,
    )
    middle, low, high = standing.speed.ratio
    axes.plot([low, high], [row, row], color=look.colour, linewidth=1.8)
    axes.plot(middle, row, look.marker, color=look.colour, zorder=3)
