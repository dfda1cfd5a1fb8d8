"""The rows as a table for the terminal, a page, a figure and JSON."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.calibration.starts import STARTS
from benchmarks.calibration.train import Row
from rich.table import Table

from dyt_bench.discovery.domains import discover
from dyt_bench.plugin.atomic import read_json, write_json
from dyt_bench.plugin.domain import Metric
from dyt_bench.records.environment import fingerprint
from dyt_bench.report.figures.style import LIGHT, looks
from dyt_bench.verdicts.statistics import compare, gains_of
from dyt_bench.verdicts.words import markdown_table

MAIN = ("native", "plain", "calibrated")  # the starts that are run by default
PRETRAINED = "pretrained.json"  # written by benchmarks/pretrained
_MAIN = """\
Mean ± standard deviation over seeds at the end of the budget. The verdict is paired by seed
against `native`, with a 95 % interval: *better* or *worse* where it clears zero,
*equivalent* where it stays within the metric's margin, *undetermined* otherwise."""
_PARTS = """\
Each line is `calibrated` with one difference: percent by which the metric is better (+)
or worse (-) than with `calibrated` and the same seed, mean ± standard deviation (seeds). Empty:
the model has nothing that the line changes, or was not run."""
_TRAINING = """\
Means over seeds. Gradient: the largest norm of the gradient in all of training, and in its last
twentieth. Saturated: the share of inputs of DyT layers that lie where the function has reached
95 % of its limit, at the end, mean over layers."""
_TRAINED = """\
Loss on validation data of models trained with their native norms: without a swap, after a plain
swap and after `dyt.calibrate`; each before and after fine-tuning at a tenth of the learning rate.
Mean ± standard deviation over seeds. Measured by `benchmarks/pretrained`."""


class CalibrationResults:
    """Rows by model and start."""

    def __init__(self, rows: Iterable[Row]) -> None:
        found = discover()
        self.rows = sorted(rows, key=lambda row: row.seed)
        domains = {row.model: row.model.partition("/")[0] for row in self.rows}
        self.metrics: dict[str, Metric] = {m: found.domain(d).metric for m, d in domains.items()}

    @property
    def models(self) -> list[str]:
        """In the order of the domains' names, as the suite has them."""
        return sorted(self.metrics)

    def of(self, model: str, start: str) -> list[Row]:
        return [row for row in self.rows if (row.model, row.start) == (model, start)]

    def value(self, model: str, start: str) -> str:
        """``mean ± standard deviation (seeds)``; empty if there are no rows."""
        return spread([row.value for row in self.of(model, start)])

    def verdict(self, model: str, start: str) -> str:
        """Against native, over the seeds that both finished; empty if there are none."""
        native = self._finished(model, "native")
        own = self._finished(model, start)
        seeds = [seed for seed in native if seed in own]
        if not seeds:
            return ""
        metric = self.metrics[model]
        gains = gains_of([native[s] for s in seeds], [own[s] for s in seeds], metric)
        judged = compare(gains, metric.margin)
        return f"{judged.verdict} (n={judged.seeds})"

    def gains(self, model: str, start: str, base: str) -> list[float]:
        """Percent by which the start is better than ``base``, by seed."""
        values = self._finished(model, base)
        sign = 1 if self.metrics[model].mode == "max" else -1
        return [
            100 * sign * (value - values[seed]) / abs(values[seed])
            for seed, value in self._finished(model, start).items()
            if seed in values
        ]

    def _finished(self, model: str, start: str) -> dict[int, float]:
        """Seed -> value, of the runs that did not diverge."""
        rows = self.of(model, start)
        return {row.seed: row.value for row in rows if row.value is not None}


def spread(values: Sequence[float | None], form: str = ".4f") -> str:
    """``mean ± standard deviation (seeds)``; None is a run that diverged."""
    some = [value for value in values if value is not None]
    if not values:
        return ""
    if len(some) < len(values):
        return f"diverged ({len(values) - len(some)} of {len(values)})"
    deviation = f" ± {stdev(some):{form.lstrip('+')}}" if len(some) > 1 else ""
    return f"{fmean(some):{form}}{deviation} ({len(some)})"


def table(rows: Sequence[Row]) -> Table:
    """A table for the terminal."""
    results = CalibrationResults(rows)
    made = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("model", "start", "mean ± sd (seeds)", "against native"):
        made.add_column(column, no_wrap=True)
    for model in results.models:
        for start in STARTS:
            if results.of(model, start):
                verdict = "" if start == "native" else results.verdict(model, start)
                made.add_row(model, start, results.value(model, start), verdict)
    return made


def write(rows: Sequence[Row], out: Path) -> None:
    """Write ``README.md``, ``calibration.json`` and ``calibration.png`` into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    results = CalibrationResults(rows)
    write_json(out / "calibration.json", [asdict(row) for row in results.rows])
    plot(results, out / "calibration.png")
    (out / "README.md").write_text(page(results, read_json(out / PRETRAINED) or []))


def page(results: CalibrationResults, trained: Sequence[dict[str, Any]]) -> str:
    """The page in Markdown; ``trained`` are rows of benchmarks/pretrained, if there are any."""
    machine = fingerprint()
    parts = [
        "# How should a model with DyT start?",
        f"{len(results.rows)} runs; {machine['cpu']}; Python {machine['python']}, torch "
        f"{machine['torch']}. Generated by `nox -s calibration`; do not edit. " + mixed(results),
        "## Native norms, DyT plain and calibrated",
        markdown_table([main_row(results, model) for model in results.models]),
        _MAIN,
        "![Change from the native norms, by start](calibration.png)",
    ]
    others = [s for s in STARTS if s not in MAIN and any(r.start == s for r in results.rows)]
    if others:
        lines = [parts_row(results, start) for start in ("native", "plain", *others)]
        parts += ["## What matters in the start", markdown_table(lines), _PARTS]
    lines = [training_row(results, model) for model in results.models]
    parts += ["## While training", markdown_table(lines), _TRAINING]
    if trained:
        parts += ["## Trained models", markdown_table(trained_rows(trained)), _TRAINED]
    return "\n\n".join(parts) + "\n"


def mixed(results: CalibrationResults) -> str:
    """A sentence if rows that are compared come from different versions of the code."""
    states = {m: {row.code for row in results.rows if row.model == m} for m in results.models}
    several = [model for model, codes in states.items() if len(codes) > 1]
    return f"Trained by more than one version of the code: {', '.join(several)}." if several else ""


def main_row(results: CalibrationResults, model: str) -> dict[str, str]:
    """A model's values with the main starts, and their verdicts."""
    row = {"model": model, "metric": _title(results.metrics[model])}
    row |= {start: results.value(model, start) for start in MAIN}
    return row | {f"{start}: verdict": results.verdict(model, start) for start in MAIN[1:]}


def parts_row(results: CalibrationResults, start: str) -> dict[str, str]:
    """A start's gain over "calibrated" in every model."""
    row = {"start": start, "what": STARTS[start].what}
    for model in results.models:
        gains = spread(results.gains(model, start, "calibrated"), "+.2f")
        diverged = any(each.value is None for each in results.of(model, start))
        row[model] = results.value(model, start) if diverged else gains
    return row


def training_row(results: CalibrationResults, model: str) -> dict[str, str]:
    """A model's gradients and saturation with the main starts."""
    row = {"model": model}
    for start in MAIN:
        rows = results.of(model, start)
        highest = [max(r.gradient) for r in rows]
        last = [r.gradient[-1] for r in rows]
        shares = [r.saturation for r in rows if r.saturation is not None]
        row[f"{start}: gradient"] = f"{fmean(highest):.3g}, {fmean(last):.2g}" if rows else ""
        if start != "native":
            row[f"{start}: saturated"] = f"{fmean(shares):.1%}" if shares else ""
    return row


def trained_rows(trained: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Rows of benchmarks/pretrained, one for each model and swap, over seeds."""
    columns = [name for name in trained[0] if name not in ("model", "seed", "swap")]
    rows = []
    for model, swap in dict.fromkeys((row["model"], row["swap"]) for row in trained):
        own = [row for row in trained if (row["model"], row["swap"]) == (model, swap)]
        values = {column: spread([row[column] for row in own]) for column in columns}
        rows.append({"model": model, "swap": swap, **values})
    return rows


def plot(results: CalibrationResults, path: Path) -> None:
    """Draw a panel for each model: every start's gain over the native norms, a dot a seed."""
    import matplotlib
    from matplotlib.figure import Figure

    starts = [s for s in STARTS if s != "native" and any(r.start == s for r in results.rows)]
    colour = {start: look.colour for start, look in looks(MAIN, LIGHT).items()}
    with matplotlib.rc_context({"font.size": 8, "axes.spines.top": False}):
        height = 1.0 + 0.2 * len(starts)
        figure = Figure(figsize=(8.4, 2 * height), layout="constrained")
        grid = figure.subplots(2, 3, sharey=True)
        for axes in grid.flat[len(results.models) :]:
            axes.remove()
        for axes, model in zip(grid.flat, results.models, strict=False):
            ends = [0.0]
            for row, start in enumerate(starts):
                gains = results.gains(model, start, "native")
                shade = colour.get(start, "#888888")
                axes.plot(gains, [row] * len(gains), "o", color=shade, markersize=3, alpha=0.5)
                ends += gains
                if gains:
                    axes.plot(fmean(gains), row, "|", color=shade, markersize=11)
            axes.axvline(0, color=colour["native"], linewidth=1)
            axes.set_title(model)
            axes.set_xscale("symlog", linthresh=1)
            axes.set_xlim(1.6 * min(*ends, -1), 1.6 * max(*ends, 1))
            axes.xaxis.set_major_formatter("{x:+g}")
        grid[0][0].set_yticks(range(len(starts)), starts)
        grid[0][0].set_ylim(max(1, len(starts)) - 0.5, -0.5)
        figure.supxlabel("change of the metric from the native norms, %; better to the right")
        figure.savefig(path)


def _title(metric: Metric) -> str:
    return f"{metric.title} {'↑' if metric.mode == 'max' else '↓'}"
