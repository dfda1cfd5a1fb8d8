"""Measures the processor time of `dyt-bench report` on thousands of made-up runs.

The runs are of four models with five variants each, with two curves of a hundred points, in a
workspace of their own. The report is written by a new process; its imports count. Processor time is
used because the wall clock says nothing on a shared machine.
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import click

from dyt_bench.discovery.domains import Discovery, discover
from dyt_bench.plugin.atomic import write_json
from dyt_bench.plugin.task import AA, Run, Task, Variant
from dyt_bench.records.record import Result
from dyt_bench.records.workspace import Workspace

LIMIT_S = 10.0
VARIANTS = [
    Variant(),
    Variant(name="dyt"),
    Variant(name="derf"),
    Variant(name="dyt", alpha_init_value=0.8),
    Variant(name="dyt", recipe="calibrated"),
]
DOMAINS = ("vision", "llm", "dna", "speech")
STEPS = 100


def make_runs(workspace: Workspace, seeds: Iterable[int]) -> list[str]:
    """Write records of every model, variant and seed; returns the names of their folders."""
    found, seeds = discover(), list(seeds)
    folders = []
    for name in DOMAINS:
        domain = found.domain(name)
        for seed in seeds:
            task = Task(
                domain=name,
                model=next(iter(domain.models)),
                dataset=next(iter(domain.datasets)),
                seed=seed,
                steps=STEPS,
                batch_size=4,
                learning_rate=1e-3,
                val_every=1,
                code_digest=found.code_digest(name),
            )
            timing = {variant.label: [1.0, 1.1, 1.05] * 4 for variant in VARIANTS}
            write_json(workspace.timing_path(task, VARIANTS), {**timing, AA: timing["native"]})
            for number, variant in enumerate(VARIANTS):
                run = Run(task=task, variant=variant)
                folders.append(_record(workspace, found, run, seed / 1e3 + number / 100))
    return folders


def _record(workspace: Workspace, found: Discovery, run: Run, worse: float) -> str:
    metric = found.domain(run.task.domain).metric
    sign = -1 if metric.mode == "max" else 1
    record = workspace.record(run)
    environment = ("cpu", "cores", "memory_gib", "python", "torch", "commit")
    record.begin(run, dict.fromkeys(environment, "made up"))
    rows = [
        f'{{"step": {step}, "time": 0.0, "train/loss": {1 / (1 + step)}, '
        f'"{metric.name}": {sign / (1 + step) + worse}}}\n'
        for step in range(STEPS + 1)
    ]
    record.rows_path.write_text("".join(rows))
    ends = [{"step": float(s), metric.name: sign / (1 + s) + worse} for s in (0, STEPS)]
    layers = {} if run.variant.is_native else {"norm": 0.4}
    record.finish(
        Result(
            status="finished",
            started=0.0,
            ended=time.time(),
            first=ends[0],
            best=ends[1],
            last=ends[1],
            summary={"model/parameters": 1000.0, "memory/peak_mib": 100.0},
            facts={"weights": "w", "batches": "b"},
            alpha=layers,
            saturation=layers,
        )
    )
    return record.folder.name


@click.command(name="report")
@click.option("--runs", default=2000, show_default=True, help="How many, about.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder to leave all of it in.")
@click.option("--gate", is_flag=True, help=f"Exit with 1 above {LIMIT_S:.0f} s.")
def report_time(runs: int, keep: Path | None, gate: bool) -> None:
    """Print the processor time of one report on made-up runs."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        workspace = Workspace(folder / "work")
        workspace.create()
        seeds = range(max(1, runs // (len(DOMAINS) * len(VARIANTS))))
        folders = make_runs(workspace, seeds)
        about = {"title": "Made up", "runs": folders, "expected": {}}
        write_json(workspace.suite_path("made-up"), about)
        command = [sys.executable, "-m", "dyt_bench", "report", "made-up"]
        command += ["--workspace", str(workspace.folder), "--out", str(folder / "results")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = used.ru_utime + used.ru_stime
    click.echo(f"{len(folders)} runs: {seconds:.1f} s of processor time, imports included")
    if gate and seconds > LIMIT_S:
        sys.exit(1)
