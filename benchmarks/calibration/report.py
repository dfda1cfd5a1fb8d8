"""The rows as a table, a page and a figure."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.table import Table
from train import Row
from variants import VARIANTS

from dyt_bench.discovery.domains import discover
from dyt_bench.plugin.atomic import read_json, write_json
from dyt_bench.plugin.domain import Metric
from dyt_bench.records.environment import fingerprint
from dyt_bench.report.figures.style import LIGHT, looks
from dyt_bench.report.page import markdown_table
from dyt_bench.verdicts.statistics import compare

ARMS = ("native", "plain", "calibrated")
PRETRAINED = "pretrained.json"  # what benchmarks/pretrained/bench_pretrained.py wrote
_ARMS = """\
Mean ± standard deviation over seeds at the end of the budget. The verdict is paired by seed
against the native norm, with a 95 % interval: *better* or *worse* where it clears zero,
*equivalent* where it stays within the metric's margin, *undetermined* otherwise."""
_PARTS = """\
Each line is `calibrated` with one thing done otherwise: percent by which the metric is better (+)
or worse (-) than with `calibrated` and the same seed, mean ± standard deviation (seeds). Empty:
the model has nothing that the line changes, or was not run."""
_TRAINING = """\
Means over seeds. Gradient: the largest norm of the gradient in all of training, and in its last
twentieth. Saturated: the share of inputs of DyT layers that lie where the function has reached
95 % of its limit, at the end, mean over layers."""
_TRAINED = """\
Loss on validation data of models trained with their native norms: as they were, after a plain
swap and after `dyt.calibrate`, each at once and after fine-tuning at a tenth of the learning
rate. Mean ± standard deviation over seeds. By `benchmarks/pretrained/bench_pretrained.py`."""


class Results:
    """Rows by model and variant."""

    def __init__(self, rows: Iterable[Row]) -> None:
        found = discover()
        self.rows = sorted(rows, key=lambda row: row.seed)
        domains = {row.model: row.model.partition("/")[0] for row in self.rows}
        self.metrics: dict[str, Metric] = {m: found.domain(d).metric for m, d in domains.items()}

    @property
    def models(self) -> list[str]:
        """In the order of the domains' names, as the suite has them."""
        return sorted(self.metrics)

    def of(self, model: str, variant: str) -> list[Row]:
        return [row for row in self.rows if (row.model, row.variant) == (model, variant)]

    def value(self, model: str, variant: str) -> str:
        """``mean ± standard deviation (seeds)``; empty where nothing was run."""
        return spread([row.value for row in self.of(model, variant)])

    def verdict(self, model: str, variant: str) -> str:
        """Against native, over the seeds that both have."""
        native = {row.seed: row.value for row in self.of(model, "native")}
        arm = {row.seed: row.value for row in self.of(model, variant)}
        seeds = [s for s in native if native[s] is not None and arm.get(s) is not None]
        if not seeds:
            return ""
        judged = compare([native[s] for s in seeds], [arm[s] for s in seeds], self.metrics[model])
        return f"{judged.verdict} (n={judged.seeds})"

    def gains(self, model: str, variant: str, base: str) -> list[float]:
        """Percent by which the variant is better than ``base``, by seed."""
        values = {row.seed: row.value for row in self.of(model, base)}
        sign = 1 if self.metrics[model].mode == "max" else -1
        return [
            100 * sign * (row.value - values[row.seed]) / abs(values[row.seed])
            for row in self.of(model, variant)
            if row.value is not None and values.get(row.seed) is not None
        ]


def spread(values: Sequence[float | None], form: str = ".4f") -> str:
    """``mean ± standard deviation (seeds)``; None stands for a run that diverged."""
    some = [value for value in values if value is not None]
    if not values:
        return ""
    if len(some) < len(values):
        return f"diverged ({len(values) - len(some)} of {len(values)})"
    deviation = f" ± {stdev(some):{form.lstrip('+')}}" if len(some) > 1 else ""
    return f"{fmean(some):{form}}{deviation} ({len(some)})"


def table(rows: Sequence[Row]) -> Table:
    """For the terminal."""
    results = Results(rows)
    made = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("model", "variant", "mean ± sd (seeds)", "against native"):
        made.add_column(column, no_wrap=True)
    for model in results.models:
        for variant in VARIANTS:
            if results.of(model, variant):
                verdict = "" if variant == "native" else results.verdict(model, variant)
                made.add_row(model, variant, results.value(model, variant), verdict)
    return made


def write(rows: Sequence[Row], out: Path) -> None:
    """``README.md``, ``calibration.json`` and ``calibration.png`` into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    results = Results(rows)
    write_json(out / "calibration.json", [asdict(row) for row in results.rows])
    plot(results, out / "calibration.png")
    (out / "README.md").write_text(page(results, read_json(out / PRETRAINED) or []))


def page(results: Results, trained: Sequence[dict[str, Any]]) -> str:
    machine = fingerprint()
    parts = [
        "# How should a model with DyT start?",
        f"{len(results.rows)} runs; {machine['cpu']}; Python {machine['python']}, torch "
        f"{machine['torch']}. Generated by `nox -s calibration`; not to be edited. "
        + mixed(results),
        "## Native norms, DyT plain and calibrated",
        markdown_table([arms_row(results, model) for model in results.models]),
        _ARMS,
        "![Change from the native norm, by variant](calibration.png)",
    ]
    variants = [v for v in VARIANTS if v not in ARMS and any(r.variant == v for r in results.rows)]
    if variants:
        lines = [parts_row(results, variant) for variant in ("native", "plain", *variants)]
        parts += ["## What matters in the start", markdown_table(lines), _PARTS]
    lines = [training_row(results, model) for model in results.models]
    parts += ["## While training", markdown_table(lines), _TRAINING]
    if trained:
        parts += ["## Trained models", markdown_table(trained_rows(trained)), _TRAINED]
    return "\n\n".join(parts) + "\n"


def mixed(results: Results) -> str:
    """A sentence if rows that are compared come from code of different states."""
    states = {m: {row.code for row in results.rows if row.model == m} for m in results.models}
    several = [model for model, codes in states.items() if len(codes) > 1]
    return f"Trained by more than one state of the code: {', '.join(several)}." if several else ""


def arms_row(results: Results, model: str) -> dict[str, str]:
    row = {"model": model, "metric": _title(results.metrics[model])}
    row |= {arm: results.value(model, arm) for arm in ARMS}
    return row | {f"{arm}: verdict": results.verdict(model, arm) for arm in ARMS[1:]}


def parts_row(results: Results, variant: str) -> dict[str, str]:
    row = {"variant": variant, "what": VARIANTS[variant].what}
    for model in results.models:
        gains = spread(results.gains(model, variant, "calibrated"), "+.2f")
        diverged = any(run.value is None for run in results.of(model, variant))
        row[model] = results.value(model, variant) if diverged else gains
    return row


def training_row(results: Results, model: str) -> dict[str, str]:
    row = {"model": model}
    for arm in ARMS:
        rows = results.of(model, arm)
        highest = [max(r.gradient) for r in rows]
        last = [r.gradient[-1] for r in rows]
        shares = [r.saturation for r in rows if r.saturation is not None]
        row[f"{arm}: gradient"] = f"{fmean(highest):.3g}, {fmean(last):.2g}" if rows else ""
        if arm != "native":
            row[f"{arm}: saturated"] = f"{fmean(shares):.1%}" if shares else ""
    return row


def trained_rows(trained: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """One row for each model and kind of swap, over seeds."""
    columns = [name for name in trained[0] if name not in ("model", "seed", "swap")]
    rows = []
    for model, swap in dict.fromkeys((row["model"], row["swap"]) for row in trained):
        own = [row for row in trained if (row["model"], row["swap"]) == (model, swap)]
        values = {column: spread([row[column] for row in own]) for column in columns}
        rows.append({"model": model, "swap": swap, **values})
    return rows


def plot(results: Results, path: Path) -> None:
    """One panel a model: each variant's gain over the native norm, a dot a seed."""
    import matplotlib
    from matplotlib.figure import Figure

    variants = [v for v in VARIANTS if v != "native" and any(r.variant == v for r in results.rows)]
    colour = {norm: look.colour for norm, look in looks(ARMS, LIGHT).items()}
    with matplotlib.rc_context({"font.size": 8, "axes.spines.top": False}):
        height = 1.0 + 0.2 * len(variants)
        figure = Figure(figsize=(8.4, 2 * height), layout="constrained")
        grid = figure.subplots(2, 3, sharey=True)
        for axes in grid.flat[len(results.models) :]:
            axes.remove()
        for axes, model in zip(grid.flat, results.models, strict=False):
            ends = [0.0]
            for row, variant in enumerate(variants):
                gains = results.gains(model, variant, "native")
                shade = colour.get(variant, "#888888")
                axes.plot(gains, [row] * len(gains), "o", color=shade, markersize=3, alpha=0.5)
                ends += gains
                if gains:
                    axes.plot(fmean(gains), row, "|", color=shade, markersize=11)
            axes.axvline(0, color=colour["native"], linewidth=1)
            axes.set_title(model)
            axes.set_xscale("symlog", linthresh=1)
            axes.set_xlim(1.6 * min(*ends, -1), 1.6 * max(*ends, 1))
            axes.xaxis.set_major_formatter("{x:+g}")
        grid[0][0].set_yticks(range(len(variants)), variants)
        grid[0][0].set_ylim(max(1, len(variants)) - 0.5, -0.5)
        figure.supxlabel("change of the metric from the native norm, %; better to the right")
        figure.savefig(path)


def _title(metric: Metric) -> str:
    return f"{metric.title} {'↑' if metric.mode == 'max' else '↓'}"
