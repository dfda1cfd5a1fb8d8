"""What a command line leaves of a suite: of its domains, models and variants."""

from collections.abc import Collection, Mapping
from pathlib import Path

from dyt_bench.discovery.domains import Discovery, unknown
from dyt_bench.errors import UserError
from dyt_bench.plugin.task import Variant
from dyt_bench.suite.schema import SuiteFile, TaskEntry, VariantEntry


def narrowed(
    path: Path,
    file: SuiteFile,
    found: Discovery,
    *,
    domains: Collection[str] = (),
    models: Collection[str] = (),
    variants: Collection[str] = (),
) -> tuple[SuiteFile, dict[int, TaskEntry]]:
    """The suite with these variants, and its entries, by their places, with these models.

    The baseline is always kept: nothing could be compared without it.

    Args:
        domains, models, variants: names, and labels such as ``dyt calibrated``; none: all.

    Raises:
        UserError: the suite has no such name.
    """
    entries = dict(enumerate(file.tasks))
    _check("domain", domains, [entry.domain for entry in file.tasks], path)
    if domains:
        entries = {i: entry for i, entry in entries.items() if entry.domain in domains}
    of_models = {i: _models(entry, found) for i, entry in entries.items()}
    _check("model", models, [name for own in of_models.values() for name in own], path)
    if models:
        kept = {i: [name for name in own if name in models] for i, own in of_models.items()}
        entries = {
            i: entries[i].model_copy(update={"models": own}) for i, own in kept.items() if own
        }
    own = [file.variants, *(entry.variants or [] for entry in entries.values())]
    _check("variant", variants, [_label(entry) for listed in own for entry in listed], path)
    if variants:
        entries = {i: _with_variants(entry, variants) for i, entry in entries.items()}
        file = file.model_copy(update={"variants": _kept(file.variants, variants)})
    return file, entries


def _check(kind: str, names: Collection[str], known: Collection[str], path: Path) -> None:
    for name in names:
        if name not in known:
            raise UserError(f"{path}: {unknown(kind, name, known)}")


def _models(entry: TaskEntry, found: Discovery) -> list[str]:
    """The models that the entry runs; none of a domain that is not there, which is told later."""
    domain = found.domains.get(entry.domain)
    return entry.models or ([next(iter(domain.models))] if domain else [])


def _label(entry: VariantEntry) -> str:
    return Variant(**entry.model_dump()).label


def _kept(entries: list[VariantEntry], labels: Collection[str]) -> list[VariantEntry]:
    return [
        entry
        for entry in entries
        if Variant(**entry.model_dump()).is_native or _label(entry) in labels
    ]


def _with_variants(entry: TaskEntry, labels: Collection[str]) -> TaskEntry:
    """The entry without the other variants, what papers report of them and their rates."""
    change: dict[str, object] = {
        "expected": _without_others(entry.expected, labels),
        "tuned_rates": {
            label: rate
            for label, rate in entry.tuned_rates.items()
            if f"{label} tuned" in labels or label in labels
        },
    }
    if entry.variants is not None:
        change["variants"] = _kept(entry.variants, labels)
    return entry.model_copy(update=change)


def _without_others(expected: Mapping[str, float], labels: Collection[str]) -> dict[str, float]:
    kept = {*labels, Variant().label}
    return {label: value for label, value in expected.items() if label in kept}
