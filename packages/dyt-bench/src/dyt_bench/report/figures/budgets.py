"""The gain over the baseline by the budget: whether a difference shrinks with training."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dyt_bench.report.figures.style import Theme, looks, new_figure
from dyt_bench.verdicts.budgets import Trend
from dyt_bench.verdicts.runs import TaskGroup
from dyt_bench.verdicts.statistics import MARGIN_SHARE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTE = (
    "A verdict holds at its budget. Gains are shares of what the baseline learned at the same "
    "budget, means over the seeds that did not collapse; shaded is the margin. The baseline is at "
    "its plateau where the next budget improves it by less than the margin; where it is still "
    "learning, there is no verdict."
)
_COLUMNS = 3  # at most; fewer panels are wider


def drawable(trends: Sequence[Trend]) -> list[Trend]:
    """Those in which a variant has gains at several budgets: one alone is no trend."""

    def budgets_of(trend: Trend) -> Counter[str]:
        return Counter(name for budget in trend.budgets for name in budget.gains)

    return [trend for trend in trends if any(n > 1 for n in budgets_of(trend).values())]


def sheet(trends: Sequence[Trend], names: Mapping[TaskGroup, str], theme: Theme) -> "Figure":
    """A panel a model, at most three a row: each variant's gain by steps.

    Args:
        trends: of models with a variant at several budgets, as `drawable` chooses them.
    """
    variants = [name for trend in trends for budget in trend.budgets for name in budget.gains]
    look = looks(variants, theme)
    columns = min(_COLUMNS, len(trends))
    rows = -(-len(trends) // columns)
    figure = new_figure(8.8, 0.9 + 2.2 * rows, left=0.72, top=0.5, bottom=0.45)
    grid = figure.subplots(
        rows, columns, squeeze=False, gridspec_kw={"hspace": 0.5, "wspace": 0.42}
    )
    panels = [axes for row in grid for axes in row]
    for axes in panels[len(trends) :]:
        axes.set_visible(False)
    lines = {}
    for axes, trend in zip(panels, trends, strict=False):
        every = [budget.steps for budget in trend.budgets]
        margin = 100 * MARGIN_SHARE
        axes.axhspan(-margin, margin, color=theme.band, linewidth=0, zorder=0)
        axes.axhline(0, color=theme.ink, linewidth=0.8)
        for name in dict.fromkeys(v for budget in trend.budgets for v in budget.gains):
            points = [(b.steps, 100 * b.gains[name]) for b in trend.budgets if name in b.gains]
            own = look[name]
            (lines[name],) = axes.plot(*zip(*points, strict=True), own.marker + "-", c=own.colour)
        axes.set_title(names[trend.group])
        axes.set_xscale("log")
        axes.set_xticks(every, [f"{steps:,}" for steps in every])
        axes.minorticks_off()
        axes.set_xlabel("steps")
        axes.set_ylabel("gain, % of learned")
    figure.legend(
        list(lines.values()), list(lines), loc="upper right", frameon=False, ncols=len(lines)
    )
    return figure
