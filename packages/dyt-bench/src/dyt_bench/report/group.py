"""The artifacts of one task group alone: its figures, and a suite that repeats its runs."""

from collections.abc import Sequence
from pathlib import Path

from dyt_bench.plugin.domain import Metric
from dyt_bench.report.figures.group import draw_group
from dyt_bench.report.reproduce import suite_text
from dyt_bench.suite.document import slug
from dyt_bench.verdicts.runs import EndedRun
from dyt_bench.verdicts.standings import Standing


def write_group(
    name: str,
    metric: Metric,
    runs: Sequence[EndedRun],
    standings: Sequence[Standing],
    folder: Path,
) -> None:
    """Write ``figures/`` and ``suite.yaml`` of the group called ``name`` into ``folder``.

    Args:
        metric: of the group's domain.
        runs: the group's judged runs, at least one.
        standings: the group's; without any there is no figure of effects.
    """
    figures = folder / "figures"
    figures.mkdir()
    draw_group(name, metric, runs, standings, figures)
    text = suite_text(slug(name), runs[0].group, runs)
    (folder / "suite.yaml").write_text(text, encoding="utf-8")
