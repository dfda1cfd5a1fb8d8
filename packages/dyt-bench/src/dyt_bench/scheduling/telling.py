"""What a run of a suite prints for people, on stderr: --json has stdout to itself."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from dyt_bench.errors import printable
from dyt_bench.plugin.domain import Metric
from dyt_bench.plugin.task import Run, Variant
from dyt_bench.records.record import Result
from dyt_bench.records.workspace import Workspace
from dyt_bench.suite.expand import Suite
from dyt_bench.verdicts.standings import Standing

console = Console(stderr=True)


def tell_problems(workspace: Workspace) -> None:
    """Print what of the workspace could not be read; once."""
    while workspace.problems:
        tell(workspace.problems.pop(0))


def print_leaderboard(standings: Sequence[Standing]) -> None:
    """The leaderboard as a table that fits 80 columns; the page has the rest."""
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for title in ("model", "variant", "baseline", "value", "verdict", "step time"):
        table.add_column(title, no_wrap=True)
    for standing in standings:
        table.add_row(
            standing.name,
            standing.variant,
            f"{standing.baseline_last:.4f}",
            f"{standing.variant_last:.4f}",
            standing.comparison.verdict,
            f"x{standing.speed.ratio.middle:.2f} {standing.speed.word}" if standing.speed else "",
        )
    if standings:
        console.print(table)


def tell_effects(suite: Suite, last: Run, results: Mapping[str, Result], metric: Metric) -> None:
    """Print a task's effects in a line once all its variants have ended; verdicts take seeds."""
    runs = suite.by_task[last.task]
    values = {
        run.variant: results[run.identity].last.get(metric.name)
        for run in runs
        if run.identity in results
    }
    native = values.get(Variant())
    if len(values) < len(runs) or len(runs) < 2 or native is None:
        return
    told = [
        f"{variant.label} {value:.4g} ({value - native:+.2g})"
        if value is not None
        else f"{variant.label} without a value"
        for variant, value in values.items()
        if not variant.is_native
    ]
    tell(f"{last.task.label}: {metric.name} native {native:.4g}, {', '.join(told)}")


def tell(text: str) -> None:
    console.print(printable(text), highlight=False, markup=False, soft_wrap=True)
