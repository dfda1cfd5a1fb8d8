"""The keys of a suite file that choose learning rates -> variants and trials, each checked."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from dyt_bench.discovery.domains import Discovery
from dyt_bench.errors import listed
from dyt_bench.plugin.task import Task, Variant
from dyt_bench.suite.document import Document
from dyt_bench.suite.names import check_known
from dyt_bench.suite.schema import TaskEntry
from dyt_bench.suite.tuning import Tuned, tuned


def at_tuned_rates(
    document: Document, index: int, entry: TaskEntry, variants: Sequence[Variant]
) -> list[Variant]:
    """The variants with the rates of the entry's ``tuned_rates`` where they ask for them.

    Raises:
        UserError: a rate is missing, or is for no variant of the entry.
    """
    asked = {replace(variant, tuned=False).label for variant in variants if variant.tuned}
    for label in entry.tuned_rates:
        check_known(document, ["tasks", index, "tuned_rates", label], "tuned variant", label, asked)
    found = []
    for variant in variants:
        plain = replace(variant, tuned=False)
        if variant.tuned:
            rate = entry.tuned_rates.get(plain.label)
            if rate is None:
                raise document.error(
                    ["tasks", index],
                    f"{plain.label} asks for its tuned learning rate: give it, for example "
                    f"tuned_rates: {{{plain.label}: 0.001}}, or have all variants tuned by "
                    "learning_rate: tuned on the task",
                )
            variant = replace(variant, learning_rate=rate)
        found.append(variant)
    return found


def check_tuning(
    document: Document,
    index: int,
    entry: TaskEntry,
    variants: Sequence[Variant],
    seeds: Sequence[int],
) -> None:
    """Raise UserError unless the entry's trials can be run and can choose for its verdicts."""
    at: list[str | int] = ["tasks", index]
    assert entry.tuning is not None
    if document.content.get("kind") == "efficiency":
        raise document.error(at, "an efficiency suite trains nothing: it tunes no learning rate")
    for key in ("learning_rate", "split"):
        if getattr(entry, key):
            raise document.error([*at, key], f"trials choose it: leave {key} out")
    if not variants or not variants[0].is_native:
        raise document.error(at, "the first variant must be native, whose best rate is the task's")
    own = [v.label for v in variants if v.learning_rate is not None]
    if own:
        raise document.error(at, f"trials choose the rates of all variants: {listed(own)} has one")
    shared = sorted(set(entry.tuning.seeds) & set(seeds))
    if shared:
        raise document.error(
            at, f"trials need seeds of their own: {listed(shared)} are those of the verdicts, too"
        )


def plan_trials(
    tasks: Sequence[Task], variants: Sequence[Variant], entry: TaskEntry, found: Discovery
) -> list[Tuned]:
    """The trials of each model and data set of an entry."""
    assert entry.tuning is not None
    planned = []
    for (domain, model, _), own in groupby(tasks, lambda t: (t.domain, t.model, t.dataset)):
        shape = found.domain(domain).models[model]
        trials = (entry.tuning.rates, entry.tuning.seeds)
        measured = entry.plateau == "measured"
        planned.append(tuned(list(own), variants, shape, *trials, plateau=measured))
    return planned
