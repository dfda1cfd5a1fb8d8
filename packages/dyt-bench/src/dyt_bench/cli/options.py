"""Options and arguments that several commands take."""

import glob
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.extensions import MIRRORS, variant_names
from dyt_bench.errors import quoted
from dyt_bench.plugin.domain import ENTRY_POINT_GROUP
from dyt_bench.records import workspace as workspaces
from dyt_bench.suite.quantities import MOST_COUNT, seconds
from dyt_bench.suite.shipped import shipped, suite_file

MOST_JOBS = 4096
TRACKING = "MLFLOW_TRACKING_URI"  # MLflow's own variable
DEFAULT_SUITE = "default"


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


class SuiteFile(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.2 only
    """A suite: the name of one that comes with the package, or a file."""

    name = "suite"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return suite_file(str(value))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        names = [CompletionItem(name) for name in shipped() if name.startswith(incomplete)]
        return [*names, CompletionItem(incomplete, type="file")]


class Names(click.ParamType):  # type: ignore[type-arg]
    """Names with commas between them; the shell completes the last one."""

    name = "names"

    def __init__(self, known: Callable[[], Iterable[str]]) -> None:
        self.known = known

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        return tuple(name.strip() for name in str(value).split(",") if name.strip())

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        before, comma, begun = incomplete.rpartition(",")
        known = sorted(name for name in self.known() if name.startswith(begun))
        return [CompletionItem(f"{before}{comma}{name}") for name in known]


def ran(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of suites that have run in the workspace, for completion."""
    folder = Path(ctx.params.get("workspace") or workspaces.DEFAULT) / "suites"
    return sorted(path.stem for path in folder.glob(f"{glob.escape(incomplete)}*.json"))


def complete(known: Callable[[], Iterable[str]]) -> Callable[..., list[str]]:
    """Completion of one of the known names."""

    def completed(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        return sorted(name for name in known() if name.startswith(incomplete))

    return completed


def domain_names() -> list[str]:
    """Of the domains that are installed; none is imported."""
    return sorted(point.name for point in entry_points(group=ENTRY_POINT_GROUP))


def _models() -> set[str]:
    return {model for domain in discover().domains.values() for model in domain.models}


def names(flag: str, what: str, known: Callable[[], Iterable[str]]) -> Callable[..., Any]:
    """An option that takes names, repeated or with commas; its value is a tuple of them."""

    def joined(
        ctx: click.Context, param: click.Parameter, value: Sequence[tuple[str, ...]]
    ) -> tuple[str, ...]:
        return tuple(name for each in value for name in each)

    aliases = (f"--{flag}", f"--{flag.removesuffix('s')}", flag)
    about = f"Only these {what}; with commas, or repeated."
    return click.option(*aliases, type=Names(known), multiple=True, callback=joined, help=about)


suite = click.argument("suite", type=SuiteFile(), default=DEFAULT_SUITE)
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
mirror = click.option(
    "--mirror",
    "mirrors",
    metavar="NAME",
    multiple=True,
    envvar="DYT_BENCH_MIRRORS",
    show_envvar=True,
    shell_complete=complete(lambda: MIRRORS.names()),
    help="Copy runs to another tracker, too: tensorboard, wandb, or a package's; repeatable.",
)
budget = click.option(
    "--budget", type=Quantity(seconds), help="Most time for the suite: 90s, 30m, 2h."
)
executor = click.option(
    "--executor", metavar="NAME", help="Where runs run: local, or a package's (see plugins)."
)
shrink = click.option(
    "--shrink",
    is_flag=True,
    help="Try the suite: few steps, small models of the same families, embedded data.",
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
        names("variants", "variants, and the native norm", variant_names),
        names("models", "models", _models),
        names("domains", "domains", domain_names),
    ):
        command = option(command)
    return command
