"""The command line: parse, call, print."""

import json
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dyt_bench import workspace as workspaces
from dyt_bench.datasets import datasets_of
from dyt_bench.errors import UserError
from dyt_bench.inventory import inventory
from dyt_bench.plugins import DATASETS, norm_names
from dyt_bench.quantities import in_words, seconds, size
from dyt_bench.registry import Discovery, discover, unknown
from dyt_bench.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dyt_bench.domain import Dataset
    from dyt_bench.fetch import Fetch
    from dyt_bench.forecast import Forecast, Pruned
    from dyt_bench.plugins import Plugin
    from dyt_bench.suite import Suite

_MARKS = {"ok": ("✓", "green"), "note": ("!", "yellow"), "problem": ("✗", "red")}
DEFAULT_SUITE = Path("benchmarks/default.yaml")


class _Group(click.Group):
    """Turns a user's mistake into one sentence on stderr and exit status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            click.echo(f"dyt-bench: {error}", err=True)
            ctx.exit(2)


class _Quantity(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.2 only
    """A duration or a size, as a suite file has them too."""

    name = "quantity"

    def __init__(self, parse: Callable[[Any], float]) -> None:
        self.parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self.parse(value)
        except ValueError as error:
            self.fail(f"{error}, got {value!r}", param, ctx)


_suite = click.argument("suite", type=click.Path(path_type=Path), default=DEFAULT_SUITE)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
_workspace = click.option(
    "--workspace",
    type=click.Path(path_type=Path, file_okay=False),
    default=workspaces.DEFAULT,
    show_default=True,
    help="Folder for records, timings and the default MLflow store.",
)
_out = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="Folder for the report.",
)


_budget = click.option(
    "--budget", type=_Quantity(seconds), help="Most time for the suite: 90s, 30m, 2h."
)


_executor = click.option(
    "--executor", metavar="NAME", help="Where cells run: local, or a package's (see plugins)."
)


def _selection(command: Callable[..., None]) -> Callable[..., None]:
    """The options that narrow or change a suite."""
    for option in (
        click.option("--steps", type=click.IntRange(1), help="Steps of every cell."),
        click.option("--seeds", type=click.IntRange(1), help="Run seeds 0 to N-1."),
        click.option("--domain", "domains", multiple=True, help="Only this domain; repeatable."),
    ):
        command = option(command)
    return command


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dyt-bench")
def main() -> None:
    """Compare normalization with its element-wise replacements, on your machine.

    A suite file says what to run: domains, models, norms, seeds. Try

    \b
      dyt-bench domains                        what can be compared
      dyt-bench plugins                        what packages add to it
      dyt-bench plan benchmarks/default.yaml   what a suite would run
      dyt-bench run benchmarks/default.yaml    train, time, log, report
      dyt-bench ui                             look at the runs in MLflow
      dyt-bench sync                           send them to another MLflow server
      dyt-bench convert timm:convnext_atto     a model's norms, and what a swap makes of them
      dyt-bench check vision                   whether a domain does what every domain must
      dyt-bench doctor                         whether a run would work here
      dyt-bench new-domain weather             a package for a domain of your own
    """


@main.command()
@_json
def domains(as_json: bool) -> None:
    """List the installed domains, their models and data sets."""
    found = discover()
    if as_json:
        click.echo(json.dumps(_describe(found), indent=1))
    else:
        for name, domain in found.domains.items():
            click.echo(f"{click.style(name, bold=True)}: {domain.summary} ({domain.metric.name})")
            datasets = datasets_of(domain)
            width = max(map(len, (*domain.models, *datasets)))
            for key, model in domain.models.items():
                click.echo(f"  model  {key:<{width}}  {model.summary}; {model.library}")
            for key, dataset in datasets.items():
                click.echo(f"  data   {key:<{width}}  {dataset.summary}")
        click.echo(f"{click.style('norms', bold=True)}: {', '.join(norm_names())}")
    for name, problem in found.broken.items():
        click.echo(f"dyt-bench: domain {name!r} is broken: {problem}", err=True)
    for name, warnings in found.warnings.items():
        for warning in warnings:
            click.echo(f"dyt-bench: domain {name!r}: {warning}", err=True)
    _tell_broken(inventory(found, [DATASETS]))


@main.command()
@_json
def plugins(as_json: bool) -> None:
    """List what packages add beside domains: norms, data sets, metrics, executors and the like.

    Each is imported and checked; what is wrong with one is said on stderr.
    """
    listed = list(inventory(discover()))
    if as_json:
        click.echo(json.dumps([asdict(plugin) for plugin in listed], indent=1))
        return
    for plugin in listed:
        if not plugin.problem:
            click.echo(f"{plugin.kind:<9} {plugin.name:<20} {plugin.distribution}: {plugin.value}")
    _tell_broken(listed)


@main.command()
@_suite
@_selection
@click.option("--probe", "probing", is_flag=True, help="Train a few steps to find out.")
@_executor
@_budget
@_json
@_workspace
def plan(
    suite: Path,
    domains: tuple[str, ...],
    seeds: int | None,
    steps: int | None,
    probing: bool,
    executor: str | None,
    budget: float | None,
    as_json: bool,
    workspace: Path,
) -> None:
    """List the cells SUITE would run, which are done already, and what the rest would take.

    Time, memory and disk are known from earlier runs in the workspace, or from --probe. With
    --budget, say what of the suite fits into it.
    """
    from dyt_bench.forecast import describe, forecast, line_text, probe, prune
    from dyt_bench.suite import Selection, load_suite

    found = discover()
    loaded = load_suite(suite, found, Selection(domains, seeds, steps, executor=executor))
    space = Workspace(workspace)
    if loaded.kind == "efficiency" and not as_json:
        for task in loaded.tasks:
            norms = ", ".join(norm.label for norm in loaded.norms_of(task))
            click.echo(f"{task.question}: {norms}, in turn; batches of {task.batch_size}")
        click.echo("nothing is trained: each norm is timed alone, in a forward pass and in a step")
        return
    problems = {}
    if probing:
        with space.opened():
            problems = probe(loaded, found, space, lambda text: click.echo(text, err=True))
    expected = forecast(loaded, space, problems)
    pruned = None if budget is None else prune(expected, budget)
    if as_json:
        click.echo(json.dumps(_describe_plan(loaded, space, expected, pruned), indent=1))
        return
    for line in expected.lines:
        task = line.cell.task
        samples = task.steps * task.batch_size
        click.echo(
            f"{line.cell.identity}  {line.cell.label:<40} {task.steps:>6} steps "
            f"{samples:>9,} samples  {line_text(line)}".rstrip()
        )
    total = sum(cell.task.steps * cell.task.batch_size for cell in loaded.cells)
    steps_in_all = sum(cell.task.steps for cell in loaded.cells)
    click.echo(f"{len(loaded.cells)} cells, {steps_in_all:,} steps, {total:,} samples")
    click.echo(describe(expected))
    if pruned is not None:
        for dropped in pruned.dropped:
            click.echo(f"left out: {dropped}")
        click.echo(
            f"{len(pruned.cells)} cells fit the budget, about {in_words(pruned.seconds)}; "
            "run takes the same --budget"
        )


@main.command()
@_suite
@_selection
@click.option("--tracking-uri", help="MLflow store; by default SQLite in the workspace.")
@click.option("--fresh", is_flag=True, help="Run again what is done already.")
@_executor
@_budget
@click.option(
    "--until",
    type=click.Choice(["decided"]),
    help="Add seeds until every verdict stands, or --budget is spent.",
)
@click.option("--cell-timeout", type=_Quantity(seconds), help="Most time of a cell: 90s, 30m, 2h.")
@click.option("--cell-memory", type=_Quantity(size), help="Most memory of a cell: 800MB, 8GiB.")
@click.option(
    "--checkpoint-every",
    type=_Quantity(lambda text: 0.0 if text == "0" else seconds(text)),
    default="30s",
    show_default=True,
    help="How much training a killed cell may lose; 0: a step.",
)
@click.option("--keep-weights", is_flag=True, help="Keep every cell's weights at the end.")
@_json
@_workspace
@_out
def run(
    suite: Path,
    domains: tuple[str, ...],
    seeds: int | None,
    steps: int | None,
    tracking_uri: str | None,
    fresh: bool,
    executor: str | None,
    budget: float | None,
    until: str | None,
    cell_timeout: float | None,
    cell_memory: int | None,
    checkpoint_every: float,
    keep_weights: bool,
    as_json: bool,
    workspace: Path,
    out: Path,
) -> None:
    """Train every cell of SUITE, time its norms, log to MLflow, write the report.

    Cells done before, with the same code, data and options, are not run again: after an
    interruption the same command continues, in the middle of a cell too. Exit status 1 if a cell
    failed, 130 after Ctrl-C, 143 after SIGTERM. With --budget alone, only what `plan` says fits.
    """
    from dyt_bench.executors.contract import preempt
    from dyt_bench.session import Until, run_suite
    from dyt_bench.suite import Selection, load_suite

    found = discover()
    selection = Selection(domains, seeds, steps, cell_timeout, cell_memory, executor)
    loaded = load_suite(suite, found, selection)
    if budget is not None and until is None:
        loaded = _within(loaded, Workspace(workspace), budget)
    _end_as_by_ctrl_c()
    if loaded.kind == "efficiency":
        from dyt_bench.timing import time_suite

        space = Workspace(workspace)
        with space.opened():
            lines = time_suite(loaded, found, space, tracking_uri, out / loaded.name)
        if as_json:
            click.echo(json.dumps([asdict(line) for line in lines], indent=1))
        return
    signal.signal(signal.SIGTERM, preempt)
    session = run_suite(
        loaded,
        found,
        Workspace(workspace),
        tracking_uri=tracking_uri,
        fresh=fresh,
        out=out,
        checkpoint_every_s=checkpoint_every,
        keep_weights=keep_weights,
        until=None if until is None else Until(budget),
    )
    if as_json:
        click.echo(json.dumps(session.summary(), indent=1))
    sys.exit(session.exit_status)


@main.command()
@click.argument("name", default="default")
@_json
@_workspace
@_out
def report(name: str, as_json: bool, workspace: Path, out: Path) -> None:
    """Write the report of the suite called NAME again, from what it last ran.

    With --json, print the verdicts as results.json has them, where every field is explained.
    """
    from dyt_bench.session import print_leaderboard, report_suite

    standings = report_suite(name, discover(), Workspace(workspace), out)
    if as_json:
        written = json.loads((out / "results.json").read_text())
        verdicts = {"report": str(out / "README.md"), "verdicts": written["verdicts"]}
        click.echo(json.dumps(verdicts, indent=1))
        return
    print_leaderboard(standings)
    click.echo(f"report: {out / 'README.md'}")


@main.command()
@click.argument("names", metavar="[SUITE]...", nargs=-1)
@click.option("--tracking-uri", help="MLflow store; by default SQLite in the workspace.")
@_workspace
def sync(names: tuple[str, ...], tracking_uri: str | None, workspace: Path) -> None:
    """Send to MLflow what the suites called SUITE last ran; by default every suite's.

    The store may be new, or have some of it or all of it: nothing is there twice afterwards.
    Runs that a killed process left running are marked as killed.
    """
    from dyt_bench.tracking.sync import sync_suites

    space = Workspace(workspace)
    uri = tracking_uri or space.tracking_uri
    for synced in sync_suites(names, space, uri, discover()):
        click.echo(
            f"dyt-bench/{synced.suite}: {synced.cells} cells, {synced.new} of them new to {uri}"
            + (f"; {synced.repaired} left running, now marked as killed" * bool(synced.repaired))
        )


@main.command()
@click.argument("name", metavar="[SUITE]", required=False)
@click.option("--tracking-uri", help="MLflow store; by default SQLite in the workspace.")
@click.option("--port", type=click.IntRange(1, 65535), help="By default 5000, or one that is free.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@_workspace
def ui(
    name: str | None, tracking_uri: str | None, port: int | None, no_browser: bool, workspace: Path
) -> None:
    """Open MLflow's comparison of SUITE, by default the last that ran; until Ctrl-C.

    MLflow is served on this machine only, 127.0.0.1. A server given by --tracking-uri is not
    started, only opened.
    """
    from dyt_bench.ui import serve

    space = Workspace(workspace)
    if tracking_uri is None and not space.database.exists():
        raise UserError(f"there is no store {space.database} yet: run a suite first")
    _end_as_by_ctrl_c()
    serve(space, tracking_uri or space.tracking_uri, name, port=port, browser=not no_browser)


@main.group()
def data() -> None:
    """List and fetch the data sets that do not come with the packages."""


@data.command("list")
@_json
def list_data(as_json: bool) -> None:
    """List every data set: where it comes from, its licence, and whether it is here."""
    found = discover()
    sets = [
        {"name": f"{name}/{key}", "state": _state(dataset), **_about(dataset)}
        for name, domain in found.domains.items()
        for key, dataset in datasets_of(domain).items()
    ]
    if as_json:
        click.echo(json.dumps(sets, indent=1))
        return
    for entry in sets:
        click.echo(f"{click.style(entry['name'], bold=True)}: {entry['state']}")
        click.echo(f"  {entry['summary']}\n  {entry['source']}; {entry['licence']}")


@data.command("fetch")
@click.argument("names", nargs=-1, required=True)
def fetch_data(names: tuple[str, ...]) -> None:
    """Get the data sets NAMES (as `data list` calls them) into a folder of your cache.

    Set DYT_BENCH_DATA to choose another folder. Nothing is installed; no administrator is
    needed. Cut off, the same command goes on.
    """
    from dyt_bench.fetch import fetch

    known = _fetchable(discover())
    for name in names:
        if name not in known:
            raise UserError(unknown("data set to fetch", name, known))
    for name in names:
        folder = fetch(name, known[name], tell=lambda text: click.echo(text, err=True))
        click.echo(f"{name}: {folder}")


@main.command()
@click.argument("spec")
@click.option("--to", default="dyt", show_default=True, help="What the norms become.")
@click.option("--recipe", help="A recipe of dyt.recipes: paper, swap-only, ...")
@click.option("--full", is_flag=True, help="At the library's size, on the meta device.")
@_json
def convert(spec: str, to: str, recipe: str | None, full: bool, as_json: bool) -> None:
    """Show the norms of the model SPEC and what a swap makes of them.

    SPEC is timm:NAME, transformers:CONFIG or diffusers:CLASS, built small without its weights,
    or module:PACKAGE.MODULE:FACTORY. Nothing is written.
    """
    from dyt_bench.conversion import convert_spec, print_conversion

    conversion = convert_spec(spec, to, recipe, full=full)
    if as_json:
        click.echo(json.dumps(conversion.plain(), indent=1))
    else:
        print_conversion(conversion)


@main.command("new-domain")
@click.argument("name")
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("."),
    help="Folder that takes the package's; by default this one.",
)
@_json
def new_domain(name: str, to: Path, as_json: bool) -> None:
    """Write a package for a domain of your own, called NAME, that runs as it is.

    It goes into the folder dyt-NAME, which must not be there yet.
    """
    from dyt_bench import scaffold

    written = scaffold.new_domain(name, to, discover())
    if as_json:
        click.echo(json.dumps(asdict(written), indent=1, default=str))
        return
    click.echo(f"{written.folder}: {len(written.files)} files; its README says what to edit\n")
    for command in written.commands:
        click.echo(f"    {command}")


@main.command()
@click.argument("name")
@click.option("--model", "models", multiple=True, help="By default the first; repeatable.")
@click.option("--dataset", help="By default the first.")
@click.option("--path", type=click.Path(path_type=Path), help="Of the data set, if it takes one.")
@_json
def check(
    name: str, models: tuple[str, ...], dataset: str | None, path: Path | None, as_json: bool
) -> None:
    """Say whether the domain NAME does what every domain must, rule by rule.

    NAME is an installed domain, or MODULE.PATH:OBJECT of one that need not be. Exit status 1 if
    a rule is broken.
    """
    from dyt_bench.testing.check import check, is_kept, plain

    verdicts = check(name, discover(), models=models, dataset=dataset, path=path)
    if as_json:
        click.echo(json.dumps(plain(verdicts), indent=1))
    sys.exit(0 if is_kept(verdicts) else 1)


@main.command()
@click.option("--tracking-uri", help="MLflow store; by default SQLite in the workspace.")
@_json
@_workspace
def doctor(tracking_uri: str | None, as_json: bool, workspace: Path) -> None:
    """Say what is installed, what works, what does not and why, and what would slow a run down.

    Exit status 1 if something does not work.
    """
    from dyt_bench.doctor import examine, is_healthy

    findings = examine(discover(), Workspace(workspace), tracking_uri)
    healthy = is_healthy(findings)
    if as_json:
        plain = {name: [vars(each) for each in section] for name, section in findings.items()}
        click.echo(json.dumps({"healthy": healthy, "findings": plain}, indent=1))
    else:
        for name, section in findings.items():
            click.echo(click.style(name, bold=True))
            for each in section:
                mark, colour = _MARKS[each.state]
                click.echo(f"  {click.style(mark, fg=colour)} {each.subject:<16} {each.text}")
    sys.exit(0 if healthy else 1)


def _tell_broken(plugins: "Iterable[Plugin]") -> None:
    for plugin in plugins:
        if plugin.problem:
            about = f"{plugin.kind} {plugin.name!r} of {plugin.distribution}"
            click.echo(f"dyt-bench: {about} is broken: {plugin.problem}", err=True)
        for warning in plugin.warnings:
            click.echo(f"dyt-bench: {plugin.kind} {plugin.name!r}: {warning}", err=True)


def _end_as_by_ctrl_c() -> None:
    """A scheduler's SIGTERM, and a SIGINT that a shell has its background jobs ignore."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)


def _fetchable(found: Discovery) -> "dict[str, Fetch]":
    """Name -> how it is fetched, of every data set that can be."""
    return {
        f"{name}/{key}": dataset.fetch
        for name, domain in found.domains.items()
        for key, dataset in datasets_of(domain).items()
        if dataset.fetch is not None
    }


def _state(dataset: "Dataset") -> str:
    """Whether the data set can be read now."""
    if dataset.takes_path:
        return "yours: name it by path"
    try:
        return "here" if list(dataset.files(None)) else "empty"
    except UserError as error:
        return f"not here: {error}"


def _about(dataset: "Dataset") -> dict[str, str]:
    return {"summary": dataset.summary, "source": dataset.source, "licence": dataset.licence}


def _describe(found: Discovery) -> dict[str, Any]:
    return {
        "domains": {
            name: {
                "summary": domain.summary,
                "metric": domain.metric.name,
                "mode": domain.metric.mode,
                "unit": domain.unit,
                "models": {key: model.summary for key, model in domain.models.items()},
                "datasets": {key: data.summary for key, data in datasets_of(domain).items()},
            }
            for name, domain in found.domains.items()
        },
        "norms": norm_names(),
        "broken": found.broken,
        "warnings": found.warnings,
    }


def _within(suite: "Suite", space: Workspace, budget: float) -> "Suite":
    """What of the suite fits the budget; what does not is said."""
    from dyt_bench.forecast import forecast, prune

    pruned = prune(forecast(suite, space), budget)
    for dropped in pruned.dropped:
        click.echo(f"left out: {dropped}", err=True)
    return replace(suite, cells=pruned.cells)


def _describe_plan(
    suite: "Suite", space: Workspace, expected: "Forecast", pruned: "Pruned | None"
) -> dict[str, Any]:
    cells = []
    for line in expected.lines:
        cell = line.cell
        result = space.record(cell).result()
        cells.append(
            {
                "identity": cell.identity,
                "label": cell.label,
                **cell.parameters(),
                "samples": cell.task.steps * cell.task.batch_size,
                "state": "waiting" if result is None else result.status,
                "seconds": line.seconds,
                "memory_mib": line.memory_mib,
                "disk_bytes": line.disk_bytes,
                "source": line.source,
                "problem": line.problem,
                "fits_budget": None if pruned is None else cell in pruned.cells,
            }
        )
    dropped = [] if pruned is None else list(pruned.dropped)
    return {"suite": suite.name, "title": suite.title, "dropped": dropped, "cells": cells}
