"""Commands for what runs left: `export`, `compare` and `clean`."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dyt_bench.cli import options
from dyt_bench.cli.group import main
from dyt_bench.discovery.domains import discover
from dyt_bench.errors import UserError, printable, quoted
from dyt_bench.records.clean import size_of, unneeded
from dyt_bench.records.record import Record
from dyt_bench.records.workspace import Workspace

if TYPE_CHECKING:
    from dyt_bench.verdicts.runs import EndedRun
    from dyt_bench.verdicts.sides import SideBySide


@main.command()
@click.argument("name", default="default", shell_complete=options.ran)
@click.option(
    "--table",
    type=click.Choice(["verdicts", "runs", "rows"]),
    default="verdicts",
    show_default=True,
    help="A row a verdict, a run, or a point of a curve.",
)
@options.as_json
@options.workspace
def export(name: str, table: str, as_json: bool, workspace: Path) -> None:
    """Print the last runs of the suite called NAME as comma-separated values.

    results.json, which the report has, says what every field means. With --json, print that.
    """
    from dyt_bench.report import csv, export
    from dyt_bench.scheduling.session import evidence_of_suite
    from dyt_bench.verdicts.standings import leaderboard

    found = discover()
    space = Workspace(workspace)
    evidence = evidence_of_suite(name, found, space)
    standings = leaderboard(evidence, found.metric)
    runs = [*evidence.trials, *evidence.runs]
    if as_json:
        click.echo(export.as_json(evidence.title, runs, standings), nl=False)
    elif table == "verdicts":
        click.echo(csv.verdicts_csv(standings), nl=False)
    else:
        click.echo((csv.runs_csv if table == "runs" else csv.rows_csv)(runs), nl=False)


@main.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@options.as_json
@options.workspace
def compare(first: str, second: str, as_json: bool, workspace: Path) -> None:
    """Compare A with B, each a workspace's folder, a commit, or a run's identity.

    Runs of the same model, budget, variant and seed are paired. Commits and runs are looked for
    in the workspace; the beginning of a name is enough.
    """
    from dyt_bench.verdicts.runs import load_runs
    from dyt_bench.verdicts.sides import side_by_side

    found = discover()
    space = Workspace(workspace)
    sides: list[list[EndedRun]] = []
    for text in (first, second):
        records = _side(text, space)
        known = [r for r in records if r.about()["parameters"]["domain"] in found.domains]
        sides.append(load_runs(known, found.metric))
    rows = side_by_side(sides[0], sides[1], found.metric)
    if as_json:
        click.echo(json.dumps([_plain(row) for row in rows], indent=1))
        return
    if not rows:
        raise UserError(
            f"{first} and {second} have no finished run of the same model, budget, variant and "
            f"seed: they have {len(sides[0])} and {len(sides[1])} runs"
        )
    _print(rows)


def _side(text: str, space: Workspace) -> Sequence[Record]:
    """The records that a person names: of a folder, of a commit, or one run's."""
    if (folder := Path(text)).is_dir():
        if (folder / "run.json").exists():
            return [Record(folder)]
        space = Workspace(folder)
        text = ""
    runs = sorted(space.runs.iterdir()) if space.runs.is_dir() else []
    records = space.readable([Record(path) for path in runs if path.is_dir()])
    for sentence in space.problems:
        click.echo(printable(sentence), err=True)
    abouts = [(record, record.about()) for record in records if record.result() is not None]
    chosen = [
        record
        for record, about in abouts
        if about["identity"].startswith(text) or about["environment"]["commit"].startswith(text)
    ]
    if not chosen:
        raise UserError(
            f"{quoted(text or str(folder))} is no folder with runs, nor the commit or the identity "
            f"of a run in {space.folder}"
        )
    return chosen


def _print(rows: "Sequence[SideBySide]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from dyt_bench.verdicts.words import decimals, gain

    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for title in ("model", "variant", "A", "B", "gain of B", "verdict", "step time"):
        table.add_column(title, no_wrap=title in ("model", "variant", "A", "B"))
    for row in rows:
        form = f".{decimals(row.first)}f"
        texts = (
            row.name,
            row.variant,
            format(row.first, form),
            format(row.second, form),
            "the same runs" if row.same else gain(row.comparison, row.first),
            "" if row.same else f"{row.comparison.verdict} (n={row.comparison.seeds})",
            "" if row.step_ratio is None else f"x{row.step_ratio:.2f}",
        )
        table.add_row(*(Text(printable(text)) for text in texts))
    console = Console()
    console.print(table)
    different = {key: pair for row in rows for key, pair in row.different.items()}
    for key, (a, b) in different.items():
        click.echo(printable(f"{key}: {a or 'none'} → {b or 'none'}"))


def _plain(row: "SideBySide") -> dict[str, Any]:
    return {
        "name": row.name,
        "variant": row.variant,
        "metric": row.metric.name,
        "seeds": list(row.seeds),
        "a": row.first,
        "b": row.second,
        "gain": row.comparison.gain,
        "interval": row.comparison.interval,
        "verdict": row.comparison.verdict,
        "step_ratio": row.step_ratio,
        "same": row.same,
        "different": row.different,
    }


@main.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.as_json
@options.workspace
def clean(yes: bool, as_json: bool, workspace: Path) -> None:
    """Delete what no suite needs: runs that none lists, and what could not be read.

    Verdicts, reports and MLflow stay as they are. To delete everything, remove the workspace.
    """
    space = Workspace(workspace)
    if not space.folder.is_dir():
        raise UserError(f"there is no workspace {workspace}")
    with space.opened():
        paths = unneeded(space)
        freed = sum(map(size_of, paths))
        told = f"{len(paths)} folders that no suite needs, {freed / 2**20:.1f} MiB"
        if paths and not yes:
            click.confirm(f"delete {told}?", abort=True, err=True)
        for path in paths:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if as_json:
        click.echo(json.dumps({"deleted": [str(path) for path in paths], "bytes": freed}, indent=1))
    else:
        click.echo(
            f"deleted {told}" if paths else "every run belongs to a suite: nothing to delete"
        )
