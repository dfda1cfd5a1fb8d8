"""Show, plot, log and write what was measured."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from benchmarks.kernels.gate import Verdict
from benchmarks.kernels.measure import Clock, Row
from rich.markup import escape
from rich.table import Table

import dyt
from dyt_bench.records.workspace import DEFAULT as WORKSPACE
from dyt_bench.records.workspace import Workspace


def tables(rows: Sequence[Row]) -> Iterator[Table]:
    """The rows as terminal tables, one for each size, type and pass."""
    for case in dict.fromkeys((row.size, row.dtype, row.pass_) for row in rows):
        made = Table(title=" ".join(case), box=None, title_justify="left", padding=(0, 1, 0, 0))
        made.add_column("layer", no_wrap=True, min_width=19)
        for column, width in (
            ("ms", 8), ("x clone", 7), ("[quartiles]", 16), ("x LN", 6), ("GB/s", 5),
            ("kept MB", 7),
        ):  # fmt: skip
            made.add_column(escape(column), justify="right", no_wrap=True, min_width=width)
        for row in rows:
            if (row.size, row.dtype, row.pass_) == case:
                made.add_row(
                    row.layer, f"{row.ms:.3f}", f"{row.ratio:.2f}",
                    escape(f"[{row.ratio_q1:.2f}, {row.ratio_q3:.2f}]"),
                    f"{row.to_layer_norm:.2f}", f"{row.gb_per_s:.1f}", f"{row.kept_mb:.1f}",
                )  # fmt: skip
        yield made


def limits(found: Sequence[Verdict]) -> Iterator[str]:
    """The limits, a line each."""
    yield "limits, on two threads:"
    for verdict in found:
        limit = verdict.limit
        word = "kept    " if verdict.kept else "EXCEEDED"
        yield (
            f"  {word} {verdict.ratio:.3f} (at most {limit.at_most:.3f})  {limit.size} "
            f"{limit.dtype} {limit.pass_}: {limit.layer} to {limit.to}"
        )


def plot(rows: Sequence[Row], path: Path) -> None:
    """Bars of the ratio to clone, one panel for each size and pass."""
    import matplotlib
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys((row.size, row.pass_) for row in rows))
    width = len({pass_ for _, pass_ in panels})
    height = len(panels) // width
    with matplotlib.rc_context({"font.size": 8, "axes.spines.top": False}):
        figure = Figure(figsize=(3.7 * width, 2.1 * height), layout="constrained")
        axes = figure.subplots(height, width, squeeze=False)
        for axis, panel in zip(axes.flat, panels, strict=True):
            own = [row for row in rows if (row.size, row.pass_) == panel]
            names = [row.layer for row in own]
            colours = ["#D55E00" if "DyT" in n or "Derf" in n else "#999999" for n in names]
            errors = [[r.ratio - r.ratio_q1 for r in own], [r.ratio_q3 - r.ratio for r in own]]
            axis.barh(names, [r.ratio for r in own], color=colours, xerr=errors, ecolor="black")
            axis.invert_yaxis()
            axis.set_xscale("log")
            axis.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
            axis.set_xticks([], minor=True)
            axis.set_xlim(0.5, max(12, *(r.ratio_q3 for r in own)) * 1.1)
            axis.axvline(1, color="black", linewidth=0.8)
            axis.set_title(" ".join(panel), loc="left")
        for axis in axes[-1]:
            axis.set_xlabel("time, ratio to copying x")
        figure.savefig(path)


def log(rows: Sequence[Row], clock: Clock, uri: str) -> None:
    """One MLflow run for each layer and type, in the experiment dyt-bench/kernels."""
    from dyt_bench.records.environment import fingerprint
    from dyt_bench.tracking import Tracker

    tracker = Tracker(uri, "dyt-bench/kernels", Workspace(WORKSPACE))
    tracker.connect()
    try:
        tags = {f"env.{key}": value for key, value in fingerprint().items()}
        for layer, dtype in dict.fromkeys((row.layer, row.dtype) for row in rows):
            own = [row for row in rows if (row.layer, row.dtype) == (layer, dtype)]
            metrics: dict[str, float] = {}
            for row in own:
                where = f"{row.pass_.replace('+', ' and ')}/{row.size}"
                metrics |= {
                    f"{where} x clone": row.ratio,
                    f"{where} ms": row.ms,
                    f"{where} kept MB": row.kept_mb,
                }
            params = {"layer": layer, "dtype": dtype, "device": clock.device.type}
            if clock.cold:
                params["caches"] = "cold"
            tracker.log_run(f"{layer} {dtype}", params, metrics, tags)
    finally:
        tracker.close()


def write(rows: Sequence[Row], clock: Clock, out: Path) -> None:
    """The rows as JSON, and a plot for each type."""
    out.mkdir(parents=True, exist_ok=True)
    for dtype in dict.fromkeys(row.dtype for row in rows):
        own = [row for row in rows if row.dtype == dtype]
        name = f"{clock.device.type}-{dtype}{'-cold' if clock.cold else ''}"
        text = json.dumps([asdict(row) for row in own], indent=1)
        (out / f"{name}.json").write_text(text + "\n")
        plot(own, out / f"{name}.png")


def describe(clock: Clock) -> str:
    """Device, threads and kernels; binds the layers of a CPU, as the harness does."""
    device = clock.device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    kernels, binding = dyt.functional.instruction_set() or "none", dyt.bind() or "compiled"
    threads = torch.get_num_threads()
    caches = ", cold caches" if clock.cold else ""
    return f"CPU, {threads} threads{caches}, CPU kernels: {kernels}, binding: {binding}"
