"""The standings' answer: one sentence, and a grid of models by variants."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dyt_bench.verdicts.runs import BASELINE, EndedRun, TaskGroup
from dyt_bench.verdicts.standings import Standing, overall
from dyt_bench.verdicts.words import arrow, decimals, gain, verdict

_NAMED = 4  # most models that a sentence names
_SAYS = {
    "better": "better in",
    "equivalent": "equivalent in",
    "worse": "worse in",
    "undetermined": "undetermined in",
    "too little learned": "not comparable, as too little was learned, in",
    "still learning": "not judged, as native still learns at this budget, in",
}

GRID_NOTE = (
    "A cell has the verdict and the gain as a share of what the native norm learned beyond the "
    "score that is reached without looking at the input; in the metric's unit where that is not "
    "known."
)


@dataclass(frozen=True)
class GridCell:
    """A model with a variant."""

    verdict: str
    amount: str  # the gain, as a share of what the baseline learned where that is known
    details: str  # values, interval, seeds


@dataclass(frozen=True)
class GridRow:
    """A model with all its variants."""

    model: str
    metric: str  # with its direction
    baseline: str  # the value that it reaches
    cells: dict[str, GridCell]  # variant -> cell; not every model has every variant


def answer(standings: Sequence[Standing], without: Sequence[str] = ()) -> str:
    """What the page shows of the variant that most models have, in one sentence; empty without any.

    ``dyt in place of the native norm is equivalent in 2 of 3 models (a, b) and worse in 1 (c); a
    training step takes 0.98 of the time.``

    Args:
        without: models that cannot be compared, as runs failed (`failed`); a sentence names them.
    """
    if not standings:
        return ""
    variants = [standing.variant for standing in standings]
    chosen = max(dict.fromkeys(variants), key=variants.count)
    own = [standing for standing in standings if standing.variant == chosen]
    parts: list[str] = []
    for word, says in _SAYS.items():
        if names := [_named(s) for s in own if s.comparison.verdict == word]:
            of = "" if parts else f" of {len(own)} {'model' if len(own) == 1 else 'models'}"
            parts.append(f"{says} {len(names)}{of} ({_some(names)})")
    sentence = f"{chosen} in place of the {BASELINE} norm is {_joined(parts)}"
    for one in overall(own):
        sentence += f"; a training step takes {one.step_time.middle:.2f} of the time"
    if without:
        sentence += f". Runs failed, so that nothing is compared, of {_some(without)}"
    return f"{sentence}."


def failed(
    runs: Iterable[EndedRun], standings: Iterable[Standing], names: Mapping[TaskGroup, str]
) -> list[str]:
    """Models of which a run failed and no variant is compared."""
    compared = {standing.name for standing in standings}
    found = dict.fromkeys(names[run.group] for run in runs if run.result.status == "failed")
    return [name for name in found if name not in compared]


def variants_of(standings: Iterable[Standing]) -> list[str]:
    """The columns of `grid`, in order of appearance."""
    return list(dict.fromkeys(standing.variant for standing in standings))


def grid(standings: Sequence[Standing]) -> list[GridRow]:
    """A row a model; the baseline's value is over the most seeds that a variant has with it."""
    rows = []
    for name in dict.fromkeys(standing.name for standing in standings):
        own = [standing for standing in standings if standing.name == name]
        widest = max(own, key=lambda standing: len(standing.seeds))
        value = widest.baseline_last
        rows.append(
            GridRow(
                model=name,
                metric=f"{widest.metric.title} {arrow(widest.metric)}",
                baseline=f"{value:.{decimals(value)}f}",
                cells={standing.variant: _cell(standing) for standing in own},
            )
        )
    return rows


def _cell(standing: Standing) -> GridCell:
    places = decimals(standing.baseline_last)
    known = standing.share is not None
    amount = f"{standing.share:+.1%}" if known else f"{standing.comparison.gain:+.{places}f}"
    values = f"{standing.baseline_last:.{places}f} → {standing.variant_last:.{places}f}"
    told = verdict(standing.comparison, standing.collapses)
    return GridCell(
        standing.comparison.verdict,
        amount,
        f"{values}, gain {gain(standing.comparison, standing.baseline_last)}, {told}",
    )


def _named(standing: Standing) -> str:
    """The model; a difference that does not matter is said to be one."""
    judged = standing.comparison
    small = judged.within and judged.verdict in ("better", "worse")
    return f"{standing.name}, within the margin" if small else standing.name


def _some(names: Sequence[str]) -> str:
    shown = "; ".join(names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown


def _joined(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]
