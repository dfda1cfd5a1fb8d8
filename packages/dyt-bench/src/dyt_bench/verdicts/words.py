"""Standings in words: the columns of a leaderboard, their meaning, and tables in Markdown."""

import math
from collections.abc import Mapping, Sequence

from tabulate import tabulate

from dyt_bench.plugin.domain import Metric
from dyt_bench.verdicts.collapse import NONE as NO_COLLAPSES
from dyt_bench.verdicts.collapse import Collapses
from dyt_bench.verdicts.runs import BASELINE
from dyt_bench.verdicts.speed import BUILDS_FROM, Interval
from dyt_bench.verdicts.standings import Overall, Standing
from dyt_bench.verdicts.statistics import MARGIN_SHARE, WORDS_FROM, Comparison

Row = dict[str, str]  # column -> text

# What Markdown would take for more than text. A single _ within a word is none, and [ without
# a link is none.
_ESCAPES = (
    ("\\", "\\\\"),
    ("&", "&amp;"),
    ("<", "&lt;"),
    ("`", "\\`"),
    ("*", "\\*"),
    ("__", "\\_\\_"),
    ("~~", "\\~\\~"),
    ("![", "!\\["),
    ("](", "]\\("),
    ("][", "]\\["),
)

# Column of `standing_row` or `compact_row` -> its meaning.
READING = (
    (
        "baseline, value",
        "means over seeds of the validation metric at the end of the budget, of the model with its "
        f"own norms (the variant {BASELINE}) and with the variant.",
    ),
    (
        "gain",
        "mean over seeds of the difference paired by seed, positive where the variant is better, "
        "with its 95 % t-interval over seeds, which does not cover the choice of the validation "
        "data. With fewer than five seeds the interval uses the spread that the model's variants "
        "share, if it is larger.",
    ),
    (
        "of learned",
        "the gain as a share of what the baseline gained over the blind score, which is reached "
        "without looking at the input.",
    ),
    (
        "verdict",
        "better or worse where a paired t-test finds a difference; equivalent where it finds none "
        "and two one-sided tests find that the gain lies within the margin (shaded in figures), "
        f"{MARGIN_SHARE:.0%} of what the baseline learned, or where no blind score is known the "
        "margin that the domain states; 'within the margin' is said of a "
        "difference as well; undetermined otherwise, and always with fewer than "
        f"{WORDS_FROM} seeds. All tests of a page are adjusted by Holm's procedure: the chance "
        "that any difference on it is false is at most 5 %. Too little learned: the baseline does "
        "not beat the reference score, so nothing can be compared. Still learning: more steps "
        "improve the baseline by the margin or more, so what is found holds for this budget alone. "
        "Runs that diverge, or end no better than the blind score, count as collapsed and are in "
        "no mean; p is Fisher's exact test of equal rates. How many seeds would decide is a rough "
        "guide from the spread seen.",
    ),
    ("at best", "gain and verdict by each run's own best validation instead of its last."),
    (
        "to baseline quality",
        "median steps until validation is as good as the baseline's last value, interpolated "
        "between validations, out of the baseline's own; and time: the ratio of these steps times "
        "the step-time ratio.",
    ),
    (
        "step time, A/A",
        "ratio to the baseline of training steps taken in turn in one process: the median over "
        "rounds of each build of the model (one a seed), and over builds the mean with its 95 % "
        "t-interval; A/A is the baseline against itself. The floor is the distance of A/A from 1, "
        "at least 2 %: faster or slower is claimed only where the whole interval lies beyond it, "
        f"and from {BUILDS_FROM} builds on. Compiled: both under torch.compile.",
    ),
)


def standing_row(standing: Standing) -> Row:
    """One line of the leaderboard."""
    speed, compiled = standing.speed, standing.compiled_speed
    form = f".{decimals(standing.baseline_last)}f"
    return {
        "model": standing.name,
        "metric": f"{standing.metric.title} {arrow(standing.metric)}",
        "baseline": format(standing.baseline_last, form),
        "variant": standing.variant,
        "value": format(standing.variant_last, form),
        "gain": gain(standing.comparison, standing.baseline_last),
        "of learned": number(standing.share, "+.1%"),
        "verdict": verdict(standing.comparison, standing.collapses),
        "at best": f"{standing.best.gain:+{form}} {standing.best.verdict}",
        "to baseline quality": quality(standing),
        "step time": f"{ratio(speed.ratio)} {speed.word}" if speed else "not timed",
        "A/A": f"{speed.aa.middle:.2f}" if speed else "",
        "compiled step": f"{ratio(compiled.ratio)} {compiled.word}" if compiled else "",
        "reported": expected(standing),
        "blind": number(standing.blind, form),
        "reference": number(standing.reference, form),
        "strong": number(standing.strong, form),
    }


# The columns of `standing_row` that say what was found, and those for whoever looks closer.
_FOUND = ("model", "variant", "metric", "verdict", "baseline", "value", "gain", "of learned")
_MORE = ("model", "variant", "at best", "to baseline quality", "A/A", "reported", "blind")


def found_row(standing: Standing) -> Row:
    """What was found, in few columns."""
    row = standing_row(standing)
    return {column: row[column] for column in (*_FOUND, "step time")}


def more_row(standing: Standing) -> Row:
    """What `found_row` leaves out."""
    row = standing_row(standing)
    return {column: row[column] for column in (*_MORE, "reference", "strong")}


def compact_row(standing: Standing) -> Row:
    """The same in fewer columns, with the verdict early."""
    row = standing_row(standing)
    return {
        "model": standing.name,
        "variant": standing.variant,
        "verdict": row["verdict"],
        "baseline → value": f"{row['baseline']} → {row['value']}",
        **{
            column: row[column]
            for column in (
                "gain",
                "of learned",
                "at best",
                "to baseline quality",
                "step time",
                "A/A",
                "compiled step",
                "reported",
                "blind",
                "reference",
                "strong",
            )
        },
    }


def overall_row(one: Overall) -> Row:
    """A variant over all task groups."""
    return {
        "variant": one.variant,
        "models": str(one.groups),
        "step time, geometric mean": ratio(one.step_time),
        "reaches baseline quality": f"{one.reached} of {one.groups}",
        "verdicts": ", ".join(f"{count} {word}" for word, count in one.verdicts.items()),
    }


def arrow(metric: Metric) -> str:
    """Which direction is better."""
    return "↑" if metric.mode == "max" else "↓"


def decimals(value: float) -> int:
    """Decimals with which a value of this size and differences from it are written: 4 or, of a
    value below 0.1, so many that it has four digits."""
    if not math.isfinite(value) or value == 0 or abs(value) >= 0.1:
        return 4
    return 3 - math.floor(math.log10(abs(value)))


def gain(judged: Comparison, value: float) -> str:
    """``+0.0120 [-0.0100, +0.0340]``, with the decimals of ``value``."""
    form = f"+.{decimals(value)}f"
    if judged.interval is None:
        return format(judged.gain, form)
    low, high = judged.interval
    return f"{judged.gain:{form}} [{low:{form}}, {high:{form}}]"


def verdict(judged: Comparison, collapses: Collapses = NO_COLLAPSES) -> str:
    """``undetermined (n=3; about 9 seeds would decide)``, ``worse, within the margin (n=5)``."""
    word: str = judged.verdict
    if judged.within and word in ("better", "worse"):
        word = f"{word}, within the margin"
    notes = [f"n={judged.seeds}"]
    if judged.p is not None:
        notes.append(f"p={judged.p:.2g}")
    if judged.verdict == "undetermined" and judged.seeds_needed is not None:
        notes.append(f"about {judged.seeds_needed} seeds would decide")
    elif judged.verdict == "undetermined" and judged.seeds > 1 and not collapses.variant:
        notes.append("more than 200 seeds would be needed")
    if collapses.p is not None:
        c = collapses
        notes.append(
            f"collapsed {c.variant} of {c.of}, {BASELINE} {c.baseline} of {c.baseline_of}, "
            f"p={c.p:.2g}"
        )
    return f"{word} ({'; '.join(notes)})"


def quality(standing: Standing) -> str:
    """``90 of 100 steps, time ×0.93``: when the variant is as good as the baseline ends."""
    if not standing.baseline_steps:
        return f"{BASELINE} learned nothing"
    if not math.isfinite(standing.variant_steps):
        return "not reached"
    time = standing.time_to_quality
    steps = f"{standing.variant_steps:.0f} of {standing.baseline_steps:.0f} steps"
    return steps if time is None else f"{steps}, time ×{time:.2f}"


def expected(standing: Standing) -> str:
    """What a paper reports of the baseline and the variant: ``82.3 → 82.5 (its name)``."""
    pair = (BASELINE, standing.variant)
    if not standing.expected or not standing.expected.keys() & set(pair):
        return ""
    name = standing.expected_metric
    metric = f"{name} " if name not in ("", standing.metric.name) else ""
    source = f" ({standing.source})" if standing.source else ""
    values = (number(standing.expected.get(variant), "g") or "?" for variant in pair)
    return metric + " → ".join(values) + source


def ratio(interval: Interval) -> str:
    """``1.03 [0.99, 1.07]``."""
    middle, low, high = interval
    return f"{middle:.2f}" if math.isnan(low) else f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def number(value: float | None, form: str) -> str:
    """The value in a format such as ``.4f``; empty if there is none."""
    return "" if value is None else format(value, form)


def markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    """The rows as a GitHub table with the first row's columns; the text in it is escaped."""
    cells = [[_cell(text) for text in row.values()] for row in rows]
    head = [_cell(name) for name in rows[0]]
    # Unaligned: padding would multiply the length, and MLflow limits that of a description.
    return tabulate(cells, head, "github", stralign=None, disable_numparse=True)


def escaped(text: str) -> str:
    """Text for a Markdown page: no HTML, link, picture, emphasis or code comes of it."""
    for letters, safe in _ESCAPES:
        text = text.replace(letters, safe)
    return text


def _cell(text: str) -> str:
    return escaped(" ".join(text.split())).replace("|", "\\|")
