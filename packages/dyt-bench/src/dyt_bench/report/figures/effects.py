"""Effects: every variant's gain and step-time ratio, a row a model."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dyt_bench.plugin.reporting import Look
from dyt_bench.report.figures.style import Theme, looks, new_figure, room_for
from dyt_bench.verdicts.standings import Standing
from dyt_bench.verdicts.statistics import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def effect(
    axes: "Axes", judged: Comparison, row: float, look: Look, far: float, scale: float
) -> None:
    """A gain with its interval; an arrow where the interval ends outside the axis."""
    if judged.interval is not None:
        low, high = (scale * end for end in judged.interval)
        inside = [max(low, -far), min(high, far)]
        axes.plot(inside, [row, row], color=look.colour, linewidth=1.8)
        for end, beyond, marker in ((-far, low < -far, "<"), (far, high > far, ">")):
            if beyond:
                axes.plot(end, row, marker, color=look.colour, markersize=4, clip_on=False)
    axes.plot(scale * judged.gain, row, look.marker, color=look.colour, markersize=6, zorder=3)


def summary(standings: Sequence[Standing], theme: Theme) -> "Figure":
    """Quality and step time of every variant against the baseline, a row a model."""
    names = list(dict.fromkeys(standing.name for standing in standings))
    variants = list(dict.fromkeys(standing.variant for standing in standings))
    look = looks(variants, theme)
    known = all(standing.learned for standing in standings)
    scales = [100 / (s.learned or abs(s.baseline_last) or math.inf) for s in standings]
    left = room_for(names)
    lines = max(sum(s.name == name for s in standings) for name in names)
    height = 1.25 + 0.2 * len(names) * (1 + lines)
    figure = new_figure(left + 6.2, height, left=left, top=0.62, bottom=0.52)
    quality, clock = figure.subplots(1, 2, sharey=True)
    gains = [scale * s.comparison.gain for s, scale in zip(standings, scales, strict=True)]
    far = max(1.0, *(abs(gain) for gain in gains)) * 1.9
    of_model = {name: [s.variant for s in standings if s.name == name] for name in names}
    apart = 0.8 / max(map(len, of_model.values()))  # of a model's lines, which stay in its row
    for standing, scale in zip(standings, scales, strict=True):
        own_variants = of_model[standing.name]
        place = own_variants.index(standing.variant) - (len(own_variants) - 1) / 2
        row = names.index(standing.name) + apart * place
        own = look[standing.variant]
        margin = scale * standing.comparison.margin
        _shade(quality, -margin, margin, row, theme)
        effect(quality, standing.comparison, row, own, far, scale)
        ratio(clock, standing, row, own, theme)
    for variant in variants:
        quality.plot([], [], look[variant].marker, color=look[variant].colour, label=variant)
    quality.set_yticks(range(len(names)), names)
    quality.set_ylim(len(names) - 0.5, -0.5)
    quality.set_xscale("symlog", linthresh=1)
    quality.set_xlim(-far, far)
    quality.xaxis.set_major_formatter(lambda x, _: f"{x:+g}" if x else "0")
    quality.axvline(0, color=theme.ink, linewidth=0.8)
    quality.set_title("gain in the validation metric", pad=10)
    of = "of what the baseline learned" if known else "of the baseline's value"
    quality.set_xlabel(f"% {of}")
    clock.axvline(1, color=theme.ink, linewidth=0.8)
    clock.set_title("time of a training step", pad=10)
    clock.set_xlabel("ratio to the baseline's")
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
    _shade(axes, 1 / floor, floor, row, theme)
    middle, low, high = standing.speed.ratio
    axes.plot([low, high], [row, row], color=look.colour, linewidth=1.8)
    axes.plot(middle, row, look.marker, color=look.colour, zorder=3)


def _shade(axes: "Axes", low: float, high: float, row: float, theme: Theme) -> None:
    """The band within which a difference does not count."""
    axes.plot(
        [low, high], [row, row], color=theme.band, linewidth=8, solid_capstyle="butt", zorder=0
    )
