"""The figures of one task group alone, as PNG files."""

from collections.abc import Sequence
from pathlib import Path

from dyt_bench.plugin.domain import Metric
from dyt_bench.report.figures import curves, effects
from dyt_bench.report.figures.style import LIGHT, drawn, save
from dyt_bench.verdicts.runs import EndedRun
from dyt_bench.verdicts.standings import Standing


def draw_group(
    name: str,
    metric: Metric,
    runs: Sequence[EndedRun],
    standings: Sequence[Standing],
    folder: Path,
) -> None:
    """Draw the group called ``name`` into ``folder``, which is there: learning curves and effects.

    Args:
        metric: of the group's domain.
        runs: the group's judged runs, at least one.
        standings: the group's; without any there is no figure of effects.
    """
    group = runs[0].group
    with drawn(LIGHT):
        sheet = curves.sheet(runs, {group: name}, {group.domain: metric}, LIGHT)
        save(sheet, folder / "curves.png")
        if standings:
            save(effects.summary(standings, LIGHT), folder / "summary.png")
