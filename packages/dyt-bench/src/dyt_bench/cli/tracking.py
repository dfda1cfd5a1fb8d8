"""Commands for MLflow and mirrors: `sync` and `ui`."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from dyt_bench.cli import options
from dyt_bench.cli.group import main
from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.extensions import MIRRORS, mirrors_called
from dyt_bench.errors import UserError
from dyt_bench.records.workspace import Workspace


@main.command()
@click.argument("names", metavar="[SUITE]...", nargs=-1, shell_complete=options.ran)
@options.tracking_uri
@click.option(
    "--mirror",
    "mirrors",
    metavar="NAME",
    multiple=True,
    shell_complete=options.complete(lambda: MIRRORS.names()),
    help="To this mirror, in place of MLflow: tensorboard, wandb, or a package's; repeatable.",
)
@options.as_json
@options.workspace
def sync(
    names: tuple[str, ...],
    tracking_uri: str | None,
    mirrors: tuple[str, ...],
    as_json: bool,
    workspace: Path,
) -> None:
    """Send the last runs of the suites called SUITE to MLflow; by default of every suite.

    The store may be new or hold some of the runs: none is there twice afterwards. Runs that a
    killed process left running are marked as killed.
    """
    if mirrors:
        _copy(names, mirrors, Workspace(workspace), as_json=as_json)
        return
    from dyt_bench.report.group import write_group
    from dyt_bench.tracking.address import shown
    from dyt_bench.tracking.sync import sync_suites

    space = Workspace(workspace)
    uri = tracking_uri or space.tracking_uri
    sent = sync_suites(names, space, uri, discover().metric, write_group)
    if as_json:
        found = [{**asdict(synced), "tracking_uri": shown(uri)} for synced in sent]
        click.echo(json.dumps(found, indent=1))
        return
    for synced in sent:
        click.echo(
            f"dyt-bench/{synced.suite}: {synced.runs} runs, {synced.new} of them new "
            f"to {shown(uri)}"
            + (f"; {synced.repaired} left running, now marked as killed" * bool(synced.repaired))
        )


def _copy(
    names: tuple[str, ...], mirrors: tuple[str, ...], space: Workspace, *, as_json: bool
) -> None:
    from dyt_bench.tracking.sync import copy_suites

    sent = copy_suites(names, space, mirrors_called(mirrors))
    if as_json:
        click.echo(json.dumps([asdict(copied) for copied in sent], indent=1))
        return
    for each in sent:
        click.echo(f"{each.suite}: {each.runs} runs, {each.new} of them new to {each.mirror}")
        click.echo(f"to look: {each.place}")


@main.command()
@click.argument("name", metavar="[SUITE]", required=False, shell_complete=options.ran)
@click.option("--tracking-uri", help="MLflow store; by default SQLite in the workspace.")
@click.option("--port", type=click.IntRange(1, 65535), help="By default 5000, or one that is free.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@options.as_json
@options.workspace
def ui(
    name: str | None,
    tracking_uri: str | None,
    port: int | None,
    no_browser: bool,
    as_json: bool,
    workspace: Path,
) -> None:
    """Open MLflow's comparison of SUITE, by default of the last that ran; until Ctrl-C.

    MLflow is served on 127.0.0.1, to this machine only. A server given by --tracking-uri is
    opened, not started. With --json, a line of JSON has the address once it answers.
    """
    from dyt_bench.tracking.ui import serve

    space = Workspace(workspace)
    if tracking_uri is None and not space.database.exists():
        raise UserError(f"there is no store {space.database} yet: run a suite first")
    serve(
        space,
        tracking_uri or space.tracking_uri,
        name,
        port=port,
        browser=not no_browser,
        as_json=as_json,
    )
