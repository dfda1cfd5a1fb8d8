"""Options and arguments that several commands take."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from dyt_bench.errors import quoted
from dyt_bench.records import workspace as workspaces
from dyt_bench.suite.quantities import MOST_COUNT, seconds

MOST_JOBS = 4096
TRACKING = "MLFLOW_TRACKING_URI"  # MLflow's own variable
DEFAULT_SUITE = Path("benchmarks/default.yaml")


class Quantity(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.2 only
    """A duration or a size, written as in a suite file."""

    name = "quantity"

    def __init__(self, parse: Callable[[Any], float]) -> None:
        self.parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self.parse(value)
        except ValueError as error:
            self.fail(f"{error}, got {quoted(value)}", param, ctx)


def _said(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Say where an address comes from that the user did not give here."""
    source = ctx.get_parameter_source(param.name or "")
    if value is not None and source is ParameterSource.ENVIRONMENT:
        click.echo(f"dyt-bench: {TRACKING} names the MLflow store", err=True)
    return value


suite = click.argument("suite", type=click.Path(path_type=Path), default=DEFAULT_SUITE)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
workspace = click.option(
    "--workspace",
    type=click.Path(path_type=Path, file_okay=False),
    default=workspaces.DEFAULT,
    show_default=True,
    help="Folder for records, timings and the default MLflow store.",
)
out = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the report; by default results/SUITE in the workspace.",
)
# The environment is read once, as the command starts: MLflow itself sets the variable later.
tracking_uri = click.option(
    "--tracking-uri",
    envvar=TRACKING,
    show_envvar=True,
    callback=_said,
    help="MLflow store; by default SQLite in the workspace.",
)
budget = click.option(
    "--budget", type=Quantity(seconds), help="Most time for the suite: 90s, 30m, 2h."
)
executor = click.option(
    "--executor", metavar="NAME", help="Where runs run: local, or a package's (see plugins)."
)
jobs = click.option(
    "--jobs",
    type=click.IntRange(1, MOST_JOBS),
    help="Runs at a time; by default as many as there are cores, or GPUs.",
)
threads = click.option(
    "--threads", type=click.IntRange(1, MOST_JOBS), help="Threads of a run; by default 1 on a CPU."
)


def report_folder(out: Path | None, workspace: Path, suite: str) -> Path:
    """Where the report of a suite goes: it overwrites no other suite's unless it is told to."""
    return out or workspace / "results" / suite


def selection(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that narrow or change a suite."""
    for option in (
        click.option("--steps", type=click.IntRange(1, MOST_COUNT), help="Steps of every run."),
        click.option("--seeds", type=click.IntRange(1, 2**32), help="Run seeds 0 to N-1."),
        click.option("--domain", "domains", multiple=True, help="Only this domain; repeatable."),
    ):
        command = option(command)
    return command
