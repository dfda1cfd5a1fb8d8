"""The names in a suite file -> variants, metrics, sections and executors, each checked."""

from collections.abc import Iterable
from typing import Any, TypeVar

from dyt_bench.discovery.domains import unknown
from dyt_bench.discovery.extensions import (
    EXECUTORS,
    METRICS,
    RECIPES,
    SECTIONS,
    VARIANTS,
    ExtensionPoint,
    variant_names,
)
from dyt_bench.errors import UserError, quoted
from dyt_bench.plugin.extensions import AddedMetric
from dyt_bench.plugin.task import NATIVE, Variant, digest
from dyt_bench.suite.document import Document, Place
from dyt_bench.suite.executors import Wrong, checked_options
from dyt_bench.suite.schema import SuiteFile, VariantEntry

T = TypeVar("T")
CONTROL = "factor"  # the recipe that leaves the norms and adds what other recipes add
# Layers without alpha, by name: importing dyt to ask would import torch.
WITHOUT_ALPHA = {
    "bhyt",
    "dyisru",
    "fixup",
    "flashnorm",
    "identity",
    "layernorm",
    "rmsnorm",
    "seednorm",
    "sigma-reparam",
    "skipinit",
    "tapernorm",
}


def check_known(
    document: Document, where: Place, kind: str, name: str, known: Iterable[str]
) -> None:
    """Raise UserError with the nearest match unless ``name`` is one of ``known``."""
    if name not in (known := list(known)):
        raise document.error(where, unknown(kind, name, known))


def resolve_variants(
    document: Document, where: Place, entries: Iterable[VariantEntry]
) -> list[Variant]:
    """The variants of a list that stands at ``where``."""
    return [_variant(document, [*where, index], entry) for index, entry in enumerate(entries)]


def _variant(document: Document, where: Place, entry: VariantEntry) -> Variant:
    check_known(document, where, "variant", entry.name, variant_names())
    variant = Variant(**entry.model_dump(), code_digest=_code_digest(document, where, entry))
    at_recipe = [*where, "recipe"]
    if variant.name == NATIVE and variant not in (Variant(), Variant(recipe=CONTROL)):
        raise document.error(
            where,
            f"the native norm takes no options but recipe: {CONTROL}; its rate is the task's",
        )
    if variant.tuned and variant.learning_rate is not None:
        raise document.error(where, "give learning_rate or tuned: both choose the rate")
    if variant.name in WITHOUT_ALPHA and (variant.recipe or variant.alpha_init_value):
        option = "recipe" if variant.recipe else "alpha_init_value"
        raise document.error([*where, option], f"{quoted(variant.name)} has no alpha: leave it out")
    if variant.recipe is not None:
        if document.content.get("kind") == "efficiency":
            raise document.error(at_recipe, "an efficiency suite swaps layers, no recipe fits")
        check_known(document, at_recipe, "recipe", variant.recipe, RECIPES.names())
        if variant.alpha_init_value is not None:
            raise document.error(where, "give alpha_init_value or recipe: both choose alpha")
    return variant


def _code_digest(document: Document, where: Place, entry: VariantEntry) -> str:
    """Of the variant and the recipe, where packages add them; neither is imported."""
    named: list[tuple[ExtensionPoint[Any], Place, str | None]] = [
        (VARIANTS, where, entry.name),
        (RECIPES, [*where, "recipe"], entry.recipe),
    ]
    found = []
    for point, place, name in named:
        if name not in (None, NATIVE) and name in point.names():
            try:
                point.find(name)
            except UserError as error:
                raise document.error(place, str(error)) from None
            found.append(point.code_digest(name))
    return digest(*found) if any(found) else ""


def resolve_metrics(document: Document, file: SuiteFile) -> dict[str, AddedMetric]:
    """Name -> metric, of those that the suite names; each is for one of its domains at least."""
    domains = {entry.domain for entry in file.tasks}
    found: dict[str, AddedMetric] = {}
    for index, name in enumerate(file.metrics):
        metric = found[name] = _load(document, ["metrics", index], METRICS, name)
        if metric.domains and not domains & set(metric.domains):
            only = ", ".join(metric.domains)
            message = f"{quoted(name)} is for {only}, which the suite does not have"
            raise document.error(["metrics", index], message)
    return found


def check_sections_and_executor(document: Document, file: SuiteFile) -> None:
    """Raise UserError unless they exist, work and fit the kind of suite."""
    for index, name in enumerate(file.sections):
        _load(document, ["sections", index], SECTIONS, name)
    _load(document, ["executor"], EXECUTORS, file.executor.name)
    try:
        checked_options(file.executor.name, file.executor.options)
    except Wrong as wrong:
        raise document.error(["executor", wrong.option], str(wrong)) from None
    for key, names in (("metrics", file.metrics), ("sections", file.sections)):
        if names and file.kind == "efficiency":
            raise document.error([key], f"an efficiency suite trains nothing: it takes no {key}")
        again = next((i for i, name in enumerate(names) if name in names[:i]), None)
        if again is not None:
            raise document.error([key, again], f"{quoted(names[again])} is listed twice")


def _load(document: Document, where: Place, point: ExtensionPoint[T], name: str) -> T:
    try:
        return point.load(name)
    except UserError as error:
        raise document.error(where, str(error)) from None
