"""The figure of what `dyt.probe` recorded: saturation, alpha, curves and gradients by layer."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

from dyt import Probe, SiteStatistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LAYER, _NATIVE = "#0072B2", "#444444"
_CURVES = ("#0072B2", "#009E73", "#E69F00", "#D55E00")  # from the input to the output
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "figure.dpi": 130,
    "savefig.bbox": "tight",
}
_NAMED = 26  # most sites whose names fit under an axis


def plot_probe(seen: Probe, path: str | Path) -> None:
    """Draw saturation, alpha against 1 / std, curves of native norms and gradients in one figure.

    The suffix of ``path`` (.png, .svg, .pdf) chooses the format.
    """
    from matplotlib.figure import Figure

    sites = tuple(seen.sites.values())
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(11, 8), layout="constrained")
        ((saturation, alpha), (curves, gradients)) = figure.subplots(2, 2)
        _saturation(saturation, sites)
        _alpha(alpha, sites)
        _curves(curves, sites)
        _gradients(gradients, sites)
        figure.savefig(path)


def _saturation(axes: "Axes", sites: Sequence[SiteStatistics]) -> None:
    axes.set_title("saturated inputs, by layer")
    shares = [(site.name, site.saturation) for site in sites if site.saturation is not None]
    if not shares:
        _nothing(axes, "no point-wise layer was seen")
        return
    axes.bar(range(len(shares)), [100 * share for _, share in shares], color=_LAYER)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("% of inputs with |f| > 0.95 sup |f|")
    _by_depth(axes, [name for name, _ in shares])


def _alpha(axes: "Axes", sites: Sequence[SiteStatistics]) -> None:
    axes.set_title("alpha against the spread of the input")
    points = [
        (1 / site.input_std, site.alpha, depth)
        for depth, site in enumerate(sites)
        if site.alpha is not None and site.alpha > 0 and site.input_std > 0
    ]
    if not points:
        _nothing(axes, "no point-wise layer was seen")
        return
    inverse, alpha, depth = zip(*points, strict=True)
    dots = axes.scatter(inverse, alpha, c=depth, cmap="viridis", zorder=2)
    if len(points) > 1:
        axes.figure.colorbar(dots, ax=axes, label="depth, in sites")
    ends = [min(*inverse, *alpha) / 1.3, max(*inverse, *alpha) * 1.3]
    axes.plot(ends, ends, color=_NATIVE, linewidth=1, label="alpha = 1 / std")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("1 / std of the input")
    axes.set_ylabel("alpha")
    axes.legend(frameon=False)


def _curves(axes: "Axes", sites: Sequence[SiteStatistics]) -> None:
    axes.set_title("native norms: output by input")
    seen = [(site.name, site.curve) for site in sites if site.curve is not None]
    if not seen:
        _nothing(axes, "no native norm was seen")
        return
    count = min(len(_CURVES), len(seen))
    chosen = [seen[round(i * (len(seen) - 1) / max(1, count - 1))] for i in range(count)]
    for (name, curve), colour in zip(chosen, _CURVES, strict=False):
        x, y = curve.input.tolist(), curve.output.tolist()
        axes.scatter(x, y, s=3, alpha=0.5, color=colour, linewidths=0, label=name)
    axes.set_xlabel("input")
    axes.set_ylabel("output, weight and bias included")
    axes.legend(frameon=False, markerscale=3)


def _gradients(axes: "Axes", sites: Sequence[SiteStatistics]) -> None:
    axes.set_title("gradient norm across a site, by depth")
    ratios = [(site, site.grad_ratio) for site in sites if site.grad_ratio]
    if not ratios:
        _nothing(axes, "no backward pass was seen")
        return
    for layer, colour, label in ((True, _LAYER, "point-wise"), (False, _NATIVE, "other")):
        some = [(i, r) for i, (s, r) in enumerate(ratios) if (s.alpha is not None) == layer]
        if some:
            axes.plot([i for i, _ in some], [r for _, r in some], "o", color=colour, label=label)
    axes.axhline(1, color=_NATIVE, linewidth=1)
    axes.set_yscale("log")
    axes.set_ylabel("norm at the input / at the output")
    _by_depth(axes, [site.name for site, _ in ratios])
    axes.legend(frameon=False)


def _by_depth(axes: "Axes", names: Sequence[str]) -> None:
    if len(names) <= _NAMED:
        axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 4 else 0)
    else:
        axes.set_xlabel("sites, from the input to the output")


def _nothing(axes: "Axes", why: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes, color=_NATIVE)
