"""Charts of ``report.html`` as data, which ``report.js`` draws.

Drawn in the browser by 400 lines of our own and not by Plotly or Vega: those add 1 to 4 MB to every
report, for two kinds of chart; and matplotlib's pictures neither adapt to the width of a window nor
tell their values.

``lines``   series over a numeric axis, each with a mean and perhaps a range and single points
``ranges``  a row for each value, with its interval, on a band within which nothing is claimed
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dyt_bench.plugin.domain import Metric
from dyt_bench.report.figures.curves import TRAIN_LOSS, band, smoothed
from dyt_bench.report.figures.rates import Curves
from dyt_bench.verdicts.budgets import Trend
from dyt_bench.verdicts.runs import BASELINE, EndedRun, Timing
from dyt_bench.verdicts.speed import compare_speed
from dyt_bench.verdicts.standings import Standing, task_timings
from dyt_bench.verdicts.statistics import MARGIN_SHARE
from dyt_bench.verdicts.words import arrow

Chart = dict[str, Any]  # for JSON

_POINTS = 200  # most points of a drawn line


def validation(
    runs: Sequence[EndedRun], metric: Metric, reference: float | None = None
) -> Chart | None:
    """The domain's metric of one group by step; None if it was never logged."""
    marks = [] if reference is None else [{"y": _short(reference), "text": "reference score"}]
    chart = _curves(runs, metric.name, f"{metric.title} {arrow(metric)}", smooth=False)
    return chart and {**chart, "marks": marks}


def training(runs: Sequence[EndedRun]) -> Chart | None:
    """Training loss of one group, smoothed; None if it was never logged."""
    return _curves(runs, TRAIN_LOSS, "training loss ↓", smooth=True)


def _curves(runs: Sequence[EndedRun], metric: str, label: str, *, smooth: bool) -> Chart | None:
    series = []
    for variant in _variants(runs):
        curves = [run.curve(metric) for run in runs if run.variant == variant]
        curves = [smoothed(curve) if smooth else curve for curve in curves if curve]
        if curves:
            steps, *values = band(curves)
            kept = _evenly(len(steps))
            x, y, low, high = ([_short(each[i]) for i in kept] for each in (steps, *values))
            series.append({"variant": variant, "x": x, "y": y, "low": low, "high": high})
    if not series:
        return None
    return _lines("training step", label, series, ends=True)


def rates(curves: Curves, metric: Metric) -> Chart:
    """The metric at the end by learning rate: means over seeds, each seed a dot."""
    pick = max if metric.mode == "max" else min
    series = []
    for variant, own in curves.items():
        x = sorted(own)
        y = [statistics.fmean(own[rate]) for rate in x]
        dots = [[_short(rate), _short(value)] for rate in x for value in own[rate]]
        ring = pick(range(len(x)), key=y.__getitem__)
        series.append(
            {"variant": variant, "x": [*map(_short, x)], "y": [*map(_short, y)], "dots": dots}
            | {"ring": ring}
        )
    return _lines("learning rate", f"{metric.title} {arrow(metric)}", series, log_x=True)


def budgets(trend: Trend) -> Chart | None:
    """Gains over the baseline by steps, in percent of what it learned; None without variants."""
    series = []
    for name in dict.fromkeys(name for budget in trend.budgets for name in budget.gains):
        own = [budget for budget in trend.budgets if name in budget.gains]
        x, y = [b.steps for b in own], [_short(100 * b.gains[name]) for b in own]
        series.append({"variant": name, "x": x, "y": y})
    if not any(len(each["x"]) > 1 for each in series):
        return None
    margin = 100 * MARGIN_SHARE
    marks = [{"y": margin, "text": "margin"}, {"y": -margin, "text": "margin"}]
    return {**_lines("steps", "gain, % of learned", series, log_x=True), "marks": marks}


def alpha(runs: Sequence[EndedRun]) -> Chart | None:
    """Alpha of one group's layers at the end; None if no run has a point-wise layer."""
    return _by_layer(runs, lambda run: run.result.alpha, "alpha", 1)


def saturation(runs: Sequence[EndedRun]) -> Chart | None:
    """Share of each layer's inputs at which |f| exceeds 95 % of its bound; None as for `alpha`."""
    return _by_layer(runs, lambda run: run.result.saturation, "saturated inputs (%)", 100)


def _by_layer(
    runs: Sequence[EndedRun],
    values: Callable[[EndedRun], Mapping[str, float]],
    label: str,
    scale: float,
) -> Chart | None:
    layers = list(dict.fromkeys(name for run in runs for name in values(run)))
    depth = {name: float(i) for i, name in enumerate(layers, 1)}
    series = []
    for variant in _variants(runs):
        curves = [
            [(depth[name], scale * value) for name, value in values(run).items()]
            for run in runs
            if run.variant == variant and values(run)
        ]
        if curves:
            x, *bands = band(curves)
            y, low, high = ([_short(value) for value in each] for each in bands)
            series.append({"variant": variant, "x": x, "y": y, "low": low, "high": high})
    if not series:
        return None
    return {**_lines("layer, from the input to the output", label, series), "names": layers}


def gains(standings: Sequence[Standing]) -> Chart:
    """Gains of one domain's models, with intervals and the margin."""
    metric = standings[0].metric
    rows = [
        {
            **_row(f"{s.name.partition('/')[2]} · {s.variant}", s.variant, s.comparison.gain),
            **_ends(s.comparison.interval),
            "band": _short(s.comparison.margin),
            "note": s.comparison.verdict,
        }
        for s in standings
    ]
    return _ranges(f"gain in {metric.title}, better to the right", rows, origin=0)


def step_times(standings: Sequence[Standing]) -> Chart | None:
    """Step-time ratios of all models; None if none was timed."""
    rows = [
        {
            **_row(f"{s.name} · {s.variant}", s.variant, s.speed.ratio.middle),
            **_ends(s.speed.ratio[1:]),
            "band": _short(s.speed.floor - 1),
            "note": s.speed.word,
        }
        for s in standings
        if s.speed is not None
    ]
    label = "time of a training step, as a ratio to the baseline's, faster to the left"
    return _ranges(label, rows, origin=1) if rows else None


def costs(
    runs: Sequence[EndedRun], timings: Mapping[str, Timing]
) -> dict[str, list[dict[str, Any]]]:
    """Axis label -> rows, of step time and peak memory by variant; without what none measured.

    Step time is the baseline's median over interleaved rounds times the variant's ratio, or the
    median of training itself if the tasks were not timed in turn. Memory is the mean over seeds.
    """
    timed = task_timings(runs, timings, BASELINE)
    unit = 1e3 * statistics.median(s for t in timed for s in t[BASELINE]) if timed else None
    steps, memory = [], []
    for variant in _variants(runs):
        own = [run for run in runs if run.variant == variant]
        of_step, ends = _step(own, variant, unit, timings)
        if of_step is not None:
            steps.append({**_row(variant, variant, of_step), **_ends(ends)})
        if (held := _mean(own, "memory/peak_mib")) is not None:
            memory.append(_row(variant, variant, held))
    found = {"training step (ms)": steps, "peak memory (MiB)": memory}
    return {label: rows for label, rows in found.items() if rows}


def cost_charts(runs: Sequence[EndedRun], timings: Mapping[str, Timing]) -> dict[str, Chart]:
    """Axis label -> chart of `costs`."""
    return {label: _ranges(label, rows) for label, rows in costs(runs, timings).items()}


def _step(
    own: Sequence[EndedRun], variant: str, unit: float | None, timings: Mapping[str, Timing]
) -> tuple[float | None, tuple[float, float] | None]:
    """A variant's step in ms, with its interval; ``unit`` is the baseline's, if it was timed."""
    if unit is not None and variant == BASELINE:
        return unit, None
    timed = task_timings(own, timings, variant)
    if unit is None or not timed:
        return _mean(own, "time/step_ms_median"), None
    middle, low, high = compare_speed(timed, variant).ratio
    return unit * middle, (unit * low, unit * high)


def profile(ratios: Mapping[str, Sequence[float]]) -> Chart:
    """The share of models on which a variant reaches the baseline's quality within tau times the
    time of the fastest variant, as a step function of tau."""
    finite = [ratio for own in ratios.values() for ratio in own if math.isfinite(ratio)]
    end = max(1.5, 1.15 * max(finite, default=1.0))
    series = []
    for variant, own in ratios.items():
        x, y, share = [1.0], [0.0], 0.0
        for count, ratio in enumerate(sorted(r for r in own if math.isfinite(r)), 1):
            x += [ratio, ratio]
            y += [share, share := 100 * count / len(own)]
        x, y = [*x, end], [*y, share]
        series.append({"variant": variant, "x": [*map(_short, x)], "y": [*map(_short, y)]})
    label = "time to the baseline's quality, as a ratio to the fastest variant's"
    return _lines(label, "share of models (%)", series)


def _lines(
    x: str,
    y: str,
    series: Sequence[Mapping[str, Any]],
    *,
    ends: bool = False,
    log_x: bool = False,
) -> Chart:
    """``ends``: the axis shows the end of the lines first, where they differ least."""
    return {"kind": "lines", "x": x, "y": y, "series": series, "ends": ends, "log_x": log_x}


def _ranges(x: str, rows: Sequence[Mapping[str, Any]], origin: float | None = None) -> Chart:
    """``origin``: the value of no difference; None: bars from zero."""
    return {"kind": "ranges", "x": x, "rows": rows, "origin": origin}


def _row(label: str, variant: str, value: float) -> dict[str, Any]:
    return {"label": label, "variant": variant, "value": _short(value)}


def _ends(interval: Sequence[float] | None) -> dict[str, Any]:
    if interval is None or not all(map(math.isfinite, interval)):
        return {}
    low, high = interval
    return {"low": _short(low), "high": _short(high)}


def _variants(runs: Sequence[EndedRun]) -> list[str]:
    """In order of appearance, the baseline first."""
    return sorted(dict.fromkeys(run.variant for run in runs), key=lambda name: name != BASELINE)


def _mean(runs: Sequence[EndedRun], key: str) -> float | None:
    values = [run.costs[key] for run in runs if key in run.costs]
    return statistics.fmean(values) if values else None


def _evenly(count: int) -> list[int]:
    """At most `_POINTS` places among ``count``, the first and the last among them."""
    if count <= _POINTS:
        return list(range(count))
    return [round(i * (count - 1) / (_POINTS - 1)) for i in range(_POINTS)]


def _short(value: float) -> float | None:
    """Six significant digits: what a screen shows; None for what is no number of an axis."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
