"""The command `merge`: results of several machines in one workspace."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from dyt_bench.cli import options
from dyt_bench.cli.group import main
from dyt_bench.errors import listed, printable
from dyt_bench.records.workspace import Workspace


@main.command()
@click.argument(
    "sources",
    metavar="WORKSPACE...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
)
@options.as_json
@options.workspace
def merge(sources: tuple[Path, ...], as_json: bool, workspace: Path) -> None:
    """Copy what has ended in other workspaces into this one, to compare and report it together.

    The workspaces may come from other machines, and are only read. Runs of suites with one name are
    put together; the same run of two machines is kept once.
    """
    from dyt_bench.records.merge import merge as merged_into

    merged = merged_into(sources, Workspace(workspace))
    for problem in merged.problems:
        click.echo(printable(f"dyt-bench: {problem}"), err=True)
    if as_json:
        click.echo(json.dumps(asdict(merged), indent=1))
        return
    click.echo(
        f"{merged.new} runs are new, {merged.there} were there, {merged.open} have not ended"
    )
    if merged.differ:
        click.echo(
            f"{len(merged.differ)} were there with other numbers, which were kept: "
            f"{listed(merged.differ)}"
        )
    for name in merged.suites:
        click.echo(f"    dyt-bench report {name} --workspace {workspace}")
