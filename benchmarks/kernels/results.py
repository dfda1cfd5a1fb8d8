"""Show, draw, log and write what was measured."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from benchmarks.kernels.gate import Verdict, judge
from benchmarks.kernels.layers import AA, LAYER_NORM
from benchmarks.kernels.measure import Clock, Row
from rich.markup import escape
from rich.table import Table

import dyt
from dyt import _ops
from dyt_bench.records import environment
from dyt_bench.records.workspace import DEFAULT as WORKSPACE
from dyt_bench.records.workspace import Workspace


def peers(rows: Sequence[Row]) -> list[str]:
    """The layers that LayerNorm is compared with; itself, A/A, first."""
    names = dict.fromkeys(row.layer for row in rows)
    return [AA, *(name for name in names if name not in (AA, LAYER_NORM))]


def by_case(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(row.case, {})[row.layer] = row
    return found


def table(rows: Sequence[Row]) -> Table:
    """A row for each case, a column for each layer: the ratio to LayerNorm, and quartiles."""
    made = Table(box=None, padding=(0, 2, 0, 0))
    made.add_column("case", no_wrap=True)
    made.add_column("LayerNorm, us", justify="right", no_wrap=True)
    names = peers(rows)
    for name in names:
        made.add_column(name, no_wrap=True)
    for case, own in by_case(rows).items():
        cells = [
            escape(f"{own[n].ratio:5.2f} [{own[n].ratio_q1:.2f} {own[n].ratio_q3:.2f}]")
            for n in names
        ]
        made.add_row(case, f"{own[LAYER_NORM].us:.1f}", *cells)
    return made


def limits(found: Sequence[Verdict]) -> Iterator[str]:
    """The cases that exceed their limit, a line each, and how many keep it."""
    for verdict in found:
        if not verdict.kept:
            word = "EXCEEDED" if verdict.judged else "TOO NOISY"
            yield f"{word} {verdict.ratio:.3f} (at most {verdict.at_most:.3f})  {verdict.case}"
    kept = sum(verdict.kept for verdict in found)
    yield f"{kept} of {len(found)} cases: DyT takes no longer than LayerNorm"


def draw(rows: Sequence[Row], title: str, path: Path) -> None:
    """A heat map of the table: blue where a layer is faster than LayerNorm, red where slower.

    A case in which LayerNorm against itself scatters too much to judge stays grey.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from PIL import Image

    cases, names = by_case(rows), peers(rows)
    judged = {verdict.case for verdict in judge(rows) if verdict.judged}
    ratios = [
        [own[name].ratio if case in judged else math.nan for name in names]
        for case, own in cases.items()
    ]
    with matplotlib.rc_context({"font.size": 7}):
        figure = Figure(figsize=(7, 1 + 0.17 * len(cases)), layout="constrained")
        axis = figure.subplots()
        norm = matplotlib.colors.LogNorm(0.25, 4)
        axis.set_facecolor("lightgrey")
        axis.imshow(ratios, aspect="auto", cmap="RdBu_r", norm=norm)
        for y, own in enumerate(ratios):
            for x, value in enumerate(own):
                if math.isnan(value):
                    continue
                colour = "white" if not 0.4 < value < 2.5 else "black"
                axis.text(x, y, f"{value:.2f}", ha="center", va="center", color=colour)
        axis.set_xticks(range(len(names)), names)
        axis.set_yticks(range(len(cases)), list(cases))
        figure.suptitle(f"time, ratio to LayerNorm: {title}", x=0.01, ha="left")
        figure.savefig(path, dpi=120)
    # Few colours: a palette takes a quarter of the bytes.
    with Image.open(path) as picture:
        picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=128).save(path, optimize=True)


def log(rows: Sequence[Row], clock: Clock, uri: str) -> None:
    """One MLflow run for each layer, in the experiment dyt-bench/kernels."""
    from dyt_bench.tracking import Tracker

    tracker = Tracker(uri, "dyt-bench/kernels", Workspace(WORKSPACE))
    tracker.connect()
    try:
        tags = {f"env.{key}": value for key, value in environment.fingerprint().items()}
        for layer in dict.fromkeys(row.layer for row in rows):
            metrics: dict[str, float] = {}
            for row in rows:
                if row.layer == layer:
                    where = row.case.replace("+", " and ").replace(",", "")
                    metrics |= {
                        f"{where} x LayerNorm": row.ratio,
                        f"{where} us": row.us,
                        f"{where} kept MB": row.kept_mb,
                    }
            params = {"layer": layer, "device": clock.device.type}
            if clock.cold:
                params["caches"] = "cold"
            tracker.log_run(layer, params, metrics, tags)
    finally:
        tracker.close()


def write(rows: Sequence[Row], clock: Clock, out: Path) -> Path:
    """The rows and the heat map, in a folder for this processor; returns it."""
    folder = out / slug(processor(clock.device))
    folder.mkdir(parents=True, exist_ok=True)
    name = f"layers{'-cold' if clock.cold else ''}"
    found = {"where": describe(clock), "rows": [asdict(row) for row in rows]}
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(rows, describe(clock), folder / f"{name}.png")
    return folder


def processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return environment.processor()


def slug(name: str) -> str:
    """The name of a processor's folder: ``intel-xeon`` for "Intel(R) Xeon(R) Processor"."""
    plain = re.sub(r"\((r|tm)\)|\b(processor|cpu)\b|@.*", " ", name.lower())
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "unknown"


def describe(clock: Clock) -> str:
    """The processor, the kernels, and how they are called."""
    if clock.device.type == "cuda":
        return processor(clock.device)
    kernels = dyt.functional.instruction_set() or "none"
    _ops.bind_where_compiled()
    calls = "compiled" if _ops.bound is not None else "Python's"
    caches = ", cold caches" if clock.cold else ""
    return f"{processor(clock.device)}, kernels for {kernels}, calls {calls}{caches}"
