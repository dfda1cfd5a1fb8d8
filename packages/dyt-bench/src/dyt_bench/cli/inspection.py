"""Commands that inspect: a model's norms (`convert`) and this machine (`doctor`)."""

import json
import sys
from pathlib import Path

import click

from dyt_bench.cli import options
from dyt_bench.cli.group import main
from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.extensions import RECIPES, variant_names
from dyt_bench.records.workspace import Workspace

_MARKS = {"ok": ("✓", "green"), "note": ("!", "yellow"), "problem": ("✗", "red")}


@main.command()
@click.argument("spec")
@click.option(
    "--to",
    default="dyt",
    show_default=True,
    help="A variant, as suites name them.",
    shell_complete=options.complete(variant_names),
)
@click.option(
    "--recipe",
    help="A recipe, as suites name them.",
    shell_complete=options.complete(RECIPES.names),
)
@click.option("--full", is_flag=True, help="At the library's size, on the meta device.")
@click.option(
    "--save", "out", type=click.Path(path_type=Path), help="Write the calibrated model there."
)
@click.option(
    "--data", type=click.Path(path_type=Path), help="To calibrate on: a table, or class folders."
)
@click.option("--text", help="Columns of the table that are read, separated by commas.")
@options.as_json
def convert(
    spec: str,
    to: str,
    recipe: str | None,
    full: bool,
    out: Path | None,
    data: Path | None,
    text: str | None,
    as_json: bool,
) -> None:
    """Show the norms of the model SPEC, and the layers that a swap puts in their place.

    SPEC is timm:NAME, transformers:CONFIG or diffusers:CLASS, built small without its weights,
    module:PACKAGE.MODULE:FACTORY, or the folder of a checkpoint, as ./bert. Of a checkpoint --save
    writes the converted model, its layers fitted to the trained norms on --data; dyt.load opens it.
    Else nothing is written.
    """
    from dyt_bench.conversion.calibrated import saver
    from dyt_bench.conversion.table import convert_spec, print_conversion

    save = saver(spec, data, out, {} if text is None else {"text": text}, discover())
    conversion = convert_spec(spec, to, recipe, full=full, save=save)
    if as_json:
        click.echo(json.dumps(conversion.plain(), indent=1))
    else:
        print_conversion(conversion)


@main.command()
@options.tracking_uri
@options.as_json
@options.workspace
def doctor(tracking_uri: str | None, as_json: bool, workspace: Path) -> None:
    """Report what is installed, what does not work and why, and what slows runs down.

    Exit status 1 if something does not work.
    """
    from dyt_bench.cli.doctor import examine, is_healthy

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
                click.echo(f"  {click.style(mark, fg=colour)} {each.about:<16} {each.text}")
    sys.exit(0 if healthy else 1)
