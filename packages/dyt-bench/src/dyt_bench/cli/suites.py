"""Commands for suites: `plan`, `run` and `report`."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dyt_bench.cli import options
from dyt_bench.cli.group import main
from dyt_bench.discovery.domains import discover
from dyt_bench.errors import printable
from dyt_bench.records.workspace import Workspace
from dyt_bench.suite.quantities import in_words, seconds, size

if TYPE_CHECKING:
    from dyt_bench.discovery.domains import Discovery
    from dyt_bench.scheduling.forecast import Forecast, Pruned
    from dyt_bench.suite.expand import Selection, Suite


@main.command()
@options.suite
@options.selection
@options.shrink
@click.option("--probe", "probing", is_flag=True, help="Train a few steps of each to estimate it.")
@click.option(
    "--machine",
    metavar="DEVICExN",
    help="Forecast the runs on a machine that need not be here: h100x8; here: on this one.",
)
@options.executor
@options.budget
@options.as_json
@options.workspace
def plan(
    suite: Path,
    domains: tuple[str, ...],
    models: tuple[str, ...],
    variants: tuple[str, ...],
    seeds: int | None,
    steps: int | None,
    shrink: bool,
    probing: bool,
    machine: str | None,
    executor: str | None,
    budget: float | None,
    as_json: bool,
    workspace: Path,
) -> None:
    """List the runs of SUITE, which are done, and what the others take.

    Time, memory and disk are estimated from earlier runs in the workspace, or by --probe. With
    --budget, list what fits into it. With --machine, forecast memory, time and money from the
    models alone: neither the machine nor the data need be here.
    """
    from dyt_bench.scheduling.forecast import describe, forecast, line_text, probe, prune
    from dyt_bench.suite.expand import Selection, load_suite

    found = discover()
    selection = Selection(domains, seeds, steps, models, variants, executor=executor, shrink=shrink)
    if machine is not None:
        _forecast_on(machine, suite, selection, found, as_json=as_json)
        return
    loaded = load_suite(suite, found, selection)
    _tell_shrunk(loaded)
    space = Workspace(workspace)
    if loaded.kind == "efficiency" and not as_json:
        for task in loaded.tasks:
            labels = ", ".join(variant.label for variant in loaded.variants_of(task))
            click.echo(f"{task.group}: {labels}, in turn; batches of {task.batch_size}")
        click.echo(
            "nothing is trained: each variant is timed alone, in a forward pass and in a step"
        )
        return
    problems = {}
    if probing:
        with space.opened():
            problems = probe(loaded, found, space, lambda text: click.echo(text, err=True))
    expected = forecast(loaded, space, problems)
    _tell_problems(space)
    pruned = None if budget is None else prune(expected, budget)
    if as_json:
        click.echo(json.dumps(_describe_plan(loaded, expected, pruned), indent=1))
        return
    for line in expected.lines:
        task = line.run.task
        samples = task.steps * task.batch_size
        click.echo(
            f"{line.run.identity}  {line.run.label:<40} {task.steps:>6} steps "
            f"{samples:>9,} samples  {line_text(line)}".rstrip()
        )
    total = sum(run.task.steps * run.task.batch_size for run in loaded.runs)
    steps_in_all = sum(run.task.steps for run in loaded.runs)
    click.echo(f"{len(loaded.runs)} runs, {steps_in_all:,} steps, {total:,} samples")
    click.echo(describe(expected))
    if pruned is not None:
        for dropped in pruned.dropped:
            click.echo(f"left out: {dropped}")
        click.echo(
            f"{len(pruned.runs)} runs fit the budget, about {in_words(pruned.seconds)}; "
            "run takes the same --budget"
        )


@main.command()
@options.suite
@options.selection
@options.shrink
@options.tracking_uri
@options.mirror
@click.option("--fresh", is_flag=True, help="Repeat runs that are done.")
@options.executor
@options.budget
@click.option(
    "--until",
    type=click.Choice(["decided"]),
    help="Add seeds until every verdict is decided, or --budget is spent.",
)
@click.option(
    "--run-timeout", type=options.Quantity(seconds), help="Most time of a run: 90s, 30m, 2h."
)
@click.option(
    "--run-memory", type=options.Quantity(size), help="Most memory of a run: 800MB, 8GiB."
)
@click.option(
    "--checkpoint-every",
    type=options.Quantity(lambda text: 0.0 if text == "0" else seconds(text)),
    default="30s",
    show_default=True,
    help="Time between checkpoints; 0: every step.",
)
@click.option("--keep-weights", is_flag=True, help="Keep every run's weights at the end.")
@options.jobs
@options.threads
@options.as_json
@options.workspace
@options.out
def run(
    suite: Path,
    domains: tuple[str, ...],
    models: tuple[str, ...],
    variants: tuple[str, ...],
    seeds: int | None,
    steps: int | None,
    shrink: bool,
    tracking_uri: str | None,
    mirrors: tuple[str, ...],
    fresh: bool,
    executor: str | None,
    budget: float | None,
    until: str | None,
    run_timeout: float | None,
    run_memory: int | None,
    checkpoint_every: float,
    keep_weights: bool,
    jobs: int | None,
    threads: int | None,
    as_json: bool,
    workspace: Path,
    out: Path | None,
) -> None:
    """Train every run of SUITE, time its variants, log to MLflow, write the report.

    Runs that are done, with the same code, data and options, are not repeated: after an
    interruption the same command resumes, even in the middle of a run. Exit status 1 if a run
    failed, 130 after Ctrl-C, 143 after SIGTERM. --budget alone runs what `plan` says fits; whatever
    is running when it is spent keeps a checkpoint.
    """
    from dyt_bench.report.write import try_out
    from dyt_bench.scheduling.runner import How
    from dyt_bench.scheduling.session import run_suite
    from dyt_bench.suite.expand import Selection, load_suite

    found = discover()
    selection = Selection(
        domains, seeds, steps, models, variants, run_timeout, run_memory, executor, shrink
    )
    loaded = load_suite(suite, found, selection)
    _tell_shrunk(loaded)
    out = options.report_folder(out, workspace, loaded.name)
    try_out(out)
    if budget is not None and until is None:
        loaded = _within(loaded, Workspace(workspace), budget)
    if loaded.kind == "efficiency":
        from dyt_bench.efficiency.session import time_suite

        if mirrors:
            click.echo("an efficiency suite trains nothing that --mirror could copy", err=True)
        space = Workspace(workspace)
        with space.opened():
            lines = time_suite(loaded, found, space, tracking_uri, out)
        if as_json:
            click.echo(json.dumps([asdict(line) for line in lines], indent=1))
        return
    session = run_suite(
        loaded,
        found,
        Workspace(workspace),
        tracking_uri=tracking_uri,
        out=out,
        how=How(fresh, checkpoint_every, keep_weights, jobs, threads),
        until_decided=until is not None,
        budget_s=budget,
        mirrors=mirrors,
    )
    if as_json:
        click.echo(json.dumps(session.summary(), indent=1))
    sys.exit(session.exit_status)


@main.command()
@click.argument("name", default="default", shell_complete=options.ran)
@options.as_json
@options.workspace
@options.out
def report(name: str, as_json: bool, workspace: Path, out: Path | None) -> None:
    """Write the report of the suite called NAME again, from its last runs.

    With --json, print the verdicts as in results.json, which explains every field.
    """
    from dyt_bench.scheduling.session import report_suite
    from dyt_bench.scheduling.telling import print_leaderboard

    out = options.report_folder(out, workspace, name)
    standings = report_suite(name, discover(), Workspace(workspace), out)
    if as_json:
        written = json.loads((out / "results.json").read_text(encoding="utf-8"))
        verdicts = {"report": str(out / "README.md"), "verdicts": written["verdicts"]}
        click.echo(json.dumps(verdicts, indent=1))
        return
    print_leaderboard(standings)
    click.echo(f"report: {out / 'README.md'}")


def _forecast_on(
    machine: str, suite: Path, selection: "Selection", found: "Discovery", *, as_json: bool
) -> None:
    """Print what the suite's runs would take on a machine."""
    from dyt_bench.scheduling.machines import parse
    from dyt_bench.scheduling.roofline import forecast_on, plain, table
    from dyt_bench.suite.expand import load_suite, without_data

    parse(machine)  # a mistake is told first
    loaded = load_suite(suite, found, selection, contents=without_data)
    on, expected = forecast_on(loaded, found, machine, lambda text: click.echo(text, err=True))
    if as_json:
        click.echo(json.dumps(plain(on, expected), indent=1))
        return
    for line in table(on, expected):
        click.echo(line)


def _tell_shrunk(suite: "Suite") -> None:
    """Print what of the suite was made smaller."""
    for sentence in suite.shrunk:
        click.echo(f"shrunk: {sentence}", err=True)


def _tell_problems(space: Workspace) -> None:
    """Print what of the workspace could not be read."""
    for sentence in space.problems:
        click.echo(printable(sentence), err=True)


def _within(suite: "Suite", space: Workspace, budget: float) -> "Suite":
    """The part of the suite that fits the budget; prints the rest."""
    from dyt_bench.scheduling.forecast import forecast, prune

    expected = forecast(suite, space)
    _tell_problems(space)
    pruned = prune(expected, budget)
    for dropped in pruned.dropped:
        click.echo(f"left out: {dropped}", err=True)
    return replace(suite, runs=pruned.runs)


def _describe_plan(suite: "Suite", expected: "Forecast", pruned: "Pruned | None") -> dict[str, Any]:
    runs = []
    fitting = None if pruned is None else set(pruned.runs)
    for line in expected.lines:
        run = line.run
        runs.append(
            {
                "identity": run.identity,
                "label": run.label,
                **run.parameters(),
                "samples": run.task.steps * run.task.batch_size,
                "state": line.state,
                "seconds": line.seconds,
                "memory_mib": line.memory_mib,
                "disk_bytes": line.disk_bytes,
                "source": line.source,
                "problem": line.problem,
                "fits_budget": None if fitting is None else run in fitting,
            }
        )
    dropped = [] if pruned is None else list(pruned.dropped)
    return {"suite": suite.name, "title": suite.title, "dropped": dropped, "runs": runs}
