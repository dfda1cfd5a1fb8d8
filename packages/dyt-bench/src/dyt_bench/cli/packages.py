"""Commands for packages: `domains`, `plugins`, `new-domain`, `check`."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dyt_bench.cli import options
from dyt_bench.cli.group import main
from dyt_bench.discovery.datasets import datasets_of
from dyt_bench.discovery.domains import Discovery, discover
from dyt_bench.discovery.extensions import DATASETS, variant_names
from dyt_bench.discovery.inventory import inventory
from dyt_bench.errors import quoted

if TYPE_CHECKING:
    from dyt_bench.discovery.extensions import LoadedExtension


@main.command()
@options.as_json
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
        click.echo(f"{click.style('variants', bold=True)}: {', '.join(variant_names())}")
    for name, problem in found.broken.items():
        click.echo(f"dyt-bench: domain {quoted(name)} is broken: {problem}", err=True)
    for name, warnings in found.warnings.items():
        for warning in warnings:
            click.echo(f"dyt-bench: domain {quoted(name)}: {warning}", err=True)
    _report_broken(inventory(found, [DATASETS]))


@main.command()
@options.as_json
def plugins(as_json: bool) -> None:
    """List the variants, recipes, data sets, metrics, sections and executors that packages add.

    Each is imported and checked; a broken one is reported on stderr.
    """
    listed = list(inventory(discover()))
    if as_json:
        click.echo(json.dumps([asdict(plugin) for plugin in listed], indent=1))
        return
    for plugin in listed:
        if not plugin.problem:
            click.echo(f"{plugin.kind:<9} {plugin.name:<20} {plugin.distribution}: {plugin.value}")
    _report_broken(listed)


@main.command("new-domain")
@click.argument("name")
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("."),
    help="Parent of the package's folder; by default the current one.",
)
@options.as_json
def new_domain(name: str, to: Path, as_json: bool) -> None:
    """Write a package for a domain of your own, called NAME, that trains without any edit.

    It is written into the folder dyt-NAME, which must not exist yet.
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
@click.argument("name", shell_complete=options.complete(options.domain_names))
@click.option("--model", "models", multiple=True, help="By default the first; repeatable.")
@click.option("--dataset", help="By default the first.")
@click.option(
    "--path", type=click.Path(path_type=Path), help="The data set's path, if it takes one."
)
@options.as_json
def check(
    name: str, models: tuple[str, ...], dataset: str | None, path: Path | None, as_json: bool
) -> None:
    """Check the domain NAME against the rules for domains, one by one.

    NAME is an installed domain, or MODULE.PATH:OBJECT of one that is not installed. Exit status
    1 if a rule is broken.
    """
    from dyt_bench.testing.check import check, is_kept, plain

    results = check(name, discover(), models=models, dataset=dataset, path=path)
    if as_json:
        click.echo(json.dumps(plain(results), indent=1))
    sys.exit(0 if is_kept(results) else 1)


def _report_broken(listed: Iterable["LoadedExtension"]) -> None:
    for plugin in listed:
        if plugin.problem:
            about = f"{plugin.kind} {quoted(plugin.name)} of {plugin.distribution}"
            click.echo(f"dyt-bench: {about} is broken: {plugin.problem}", err=True)
        for warning in plugin.warnings:
            click.echo(f"dyt-bench: {plugin.kind} {quoted(plugin.name)}: {warning}", err=True)


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
        "variants": variant_names(),
        "broken": found.broken,
        "warnings": found.warnings,
    }
