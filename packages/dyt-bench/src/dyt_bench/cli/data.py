"""Commands for data sets: `data list` and `data fetch`."""

import json
from typing import TYPE_CHECKING

import click

from dyt_bench.cli import options
from dyt_bench.cli.group import main
from dyt_bench.discovery.datasets import datasets_of
from dyt_bench.discovery.domains import Discovery, discover, unknown
from dyt_bench.errors import UserError, shortened

if TYPE_CHECKING:
    from dyt_bench.plugin.domain import Dataset
    from dyt_bench.plugin.fetch import Fetch


@main.group()
def data() -> None:
    """List and fetch the data sets that do not come with the packages."""


@data.command("list")
@options.as_json
def list_data(as_json: bool) -> None:
    """List every data set: its source, its licence, and whether it is on this machine."""
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
@options.as_json
def fetch_data(names: tuple[str, ...], as_json: bool) -> None:
    """Get the data sets NAMES (as `data list` calls them) into a folder of your cache.

    Set DYT_BENCH_DATA to choose another folder. Nothing is installed and no administrator is
    needed. After an interruption the same command resumes.
    """
    from dyt_bench.plugin.fetch import fetch

    known = _fetchable(discover())
    for name in names:
        if name not in known:
            raise UserError(unknown("data set to fetch", name, known))
    folders = {}
    for name in names:
        folders[name] = fetch(name, known[name], tell=lambda text: click.echo(text, err=True))
        if not as_json:
            click.echo(f"{name}: {folders[name]}")
    if as_json:
        found = [{"name": name, "folder": str(folder)} for name, folder in folders.items()]
        click.echo(json.dumps(found, indent=1))


def _fetchable(found: Discovery) -> "dict[str, Fetch]":
    """Name -> source, of every data set that can be fetched."""
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
        files = list(dataset.files(None))
    except UserError as error:
        return f"not here: {error}"
    missing = [file for file in files if not file.exists()]
    if missing:
        return f"not here: {shortened(str(missing[0]))} does not exist"
    return "here" if files else "here: made when it is read, of no file"


def _about(dataset: "Dataset") -> dict[str, str]:
    return {"summary": dataset.summary, "source": dataset.source, "licence": dataset.licence}
