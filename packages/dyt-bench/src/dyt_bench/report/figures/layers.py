"""Alpha and saturation at the end of training, layer by layer."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from dyt_bench.plugin.reporting import Look
from dyt_bench.report.figures.curves import band
from dyt_bench.report.figures.style import Theme, new_figure
from dyt_bench.verdicts.runs import EndedRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAMED = 20  # most layers for which each has a tick


def alpha(runs: Sequence[EndedRun], look: Mapping[str, Look], theme: Theme) -> "Figure | None":
    """Alpha of one group's layers at the end; None if no run has a point-wise layer."""
    return _by_layer(runs, look, theme, lambda run: run.result.alpha, "alpha", 1)


def saturation(runs: Sequence[EndedRun], look: Mapping[str, Look], theme: Theme) -> "Figure | None":
    """Share of each layer's inputs at which |f| exceeds 95 % of its bound; None as for `alpha`."""
    label = "saturated inputs, %"
    return _by_layer(runs, look, theme, lambda run: run.result.saturation, label, 100)


def _by_layer(
    runs: Sequence[EndedRun],
    look: Mapping[str, Look],
    theme: Theme,
    values: Callable[[EndedRun], Mapping[str, float]],
    label: str,
    scale: float,
) -> "Figure | None":
    layers = list(dict.fromkeys(name for run in runs for name in values(run)))
    if not layers:
        return None
    depth = {name: i for i, name in enumerate(layers, 1)}
    figure = new_figure(4.2, 2.2)
    axes = figure.subplots()
    for variant, own in look.items():
        curves = [
            [(float(depth[name]), scale * value) for name, value in values(run).items()]
            for run in runs
            if run.variant == variant and values(run)
        ]
        if not curves:
            continue
        places, middle, low, high = band(curves)
        axes.vlines(places, low, high, color=own.colour, linewidth=1.6, alpha=0.5)
        axes.plot(places, middle, marker=own.marker, color=own.colour, lw=0.8, ms=4)
    axes.locator_params(nbins=5)
    axes.set_ylim(bottom=0)
    axes.set_xlim(0.4, len(layers) + 0.6)
    if len(layers) <= _NAMED:
        axes.set_xticks(range(1, len(layers) + 1))
        axes.tick_params(axis="x", labelsize=7 if len(layers) > 12 else 9)
    axes.set_xlabel("layer, from the input to the output")
    axes.set_ylabel(label)
    axes.grid(axis="y", color=theme.band, linewidth=0.8)
    return figure
