"""The command `finetune`: a suite made from a checkpoint and data, run, its model saved."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from dyt_bench.cli import options
from dyt_bench.cli.group import main
from dyt_bench.discovery.domains import discover
from dyt_bench.records.workspace import Workspace
from dyt_bench.suite.quantities import MOST_COUNT


@main.command()
@click.option(
    "--model",
    "checkpoint",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of a checkpoint, with its norms.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="A table (.csv, .tsv, .jsonl, .parquet), or images in a folder a class.",
)
@click.option("--label", help="The column that is predicted; without it, the text itself is.")
@click.option("--text", help="Columns that are read, separated by commas.")
@click.option("--split", help="The column that says train, or val or test, of each row.")
@click.option("--length", help="Tokens of a text at most.")
@click.option("--task", help="A head by name, where another than the data suggest is meant.")
@click.option(
    "--to", multiple=True, default=("dyt",), show_default=True, help="A variant; repeatable."
)
@click.option("--gradual", is_flag=True, help="Also replace one norm after another.")
@click.option("--name", help="Of the suite; by default from the names of model and data.")
@click.option("--steps", type=click.IntRange(1, MOST_COUNT), help="Steps of every run.")
@click.option("--seeds", type=click.IntRange(1, 2**32), default=3, show_default=True)
@click.option("--only-plan", is_flag=True, help="Show the suite and end.")
@options.mirror
@options.budget
@options.jobs
@options.threads
@options.as_json
@options.workspace
@options.out
def finetune(
    checkpoint: Path,
    data: Path,
    label: str | None,
    text: str | None,
    split: str | None,
    length: str | None,
    task: str | None,
    to: tuple[str, ...],
    gradual: bool,
    name: str | None,
    steps: int | None,
    seeds: int,
    only_plan: bool,
    mirrors: tuple[str, ...],
    budget: float | None,
    jobs: int | None,
    threads: int | None,
    as_json: bool,
    workspace: Path,
    out: Path | None,
) -> None:
    """Fine-tune a checkpoint with its norms and with others in their place, and compare.

    A suite is made from what is found, shown, and run as `run` does: each variant as it is and
    calibrated to the trained norms, from the same weights on the same batches. The report comes at
    the end; the best converted model is saved beside it. `run` takes the same suite file.
    """
    from dyt_bench.report.write import try_out
    from dyt_bench.scheduling.finetuning import save_best
    from dyt_bench.scheduling.forecast import describe, forecast
    from dyt_bench.scheduling.runner import How
    from dyt_bench.scheduling.session import run_suite
    from dyt_bench.suite.expand import load_suite
    from dyt_bench.suite.proposing import propose_suite, write_suite

    given = {"label": label, "text": text, "split": split, "length": length}
    found, space = discover(), Workspace(workspace)
    content = propose_suite(
        found,
        checkpoint.absolute(),
        data.absolute(),
        {key: value for key, value in given.items() if value is not None},
        head=task,
        variants=to,
        gradual=gradual,
        seeds=seeds,
        steps=steps,
        name=name,
    )
    file = write_suite(content, workspace / "suites-made")
    suite = load_suite(file, found)
    out = options.report_folder(out, workspace, suite.name)
    try_out(out)
    click.echo(f"{file}:\n\n{file.read_text()}", err=True)
    click.echo(f"{len(suite.runs)} runs: {describe(forecast(suite, space))}", err=True)
    if only_plan:
        return
    session = run_suite(
        suite,
        found,
        space,
        tracking_uri=None,
        out=out,
        how=How(keep_weights=True, jobs=jobs, threads=threads),
        budget_s=budget,
        mirrors=mirrors,
    )
    summary: dict[str, Any] = {**session.summary(), "suite_file": str(file), "model": None}
    if session.exit_status == 0 and not session.stopped:
        summary["model"] = save_best(session, found, space, out / "model")
    if as_json:
        click.echo(json.dumps(summary, indent=1))
    sys.exit(session.exit_status)
