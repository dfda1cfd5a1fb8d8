"""`dyt-bench convert`: the norms of a model, and the layers that a swap puts in their place."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn

import dyt
from dyt.recipes import resolve
from dyt_bench.conversion import zoo
from dyt_bench.discovery.extensions import RECIPES, VARIANTS
from dyt_bench.errors import UserError, quoted
from dyt_bench.plugin.task import NATIVE


@dataclass(frozen=True)
class NormRow:
    """One norm, before and after."""

    name: str
    class_name: str
    kind: str
    role: str
    normalized_shape: tuple[int, ...]
    channels_last: bool
    affine: bool
    becomes: str | None  # the class put in, with alpha where it has one; None if it stays
    reason: str | None  # why it stays

    def grouped(self) -> tuple[object, ...]:
        """Equal for rows that differ in nothing but the number of their layer."""
        return (re.sub(r"(^|(?<=\.))\d+(?=\.|$)", "*", self.name), *list(vars(self).values())[1:])


@dataclass(frozen=True)
class Conversion:
    """A model's norms, and a swap of them."""

    model: str
    class_name: str
    parameters: int
    recipe: str | None  # its name and source
    rows: tuple[NormRow, ...]

    def plain(self) -> dict[str, Any]:
        """The conversion as a JSON-able dictionary."""
        return {
            "model": self.model,
            "class": self.class_name,
            "parameters": self.parameters,
            "recipe": self.recipe,
            "sites": [vars(row) for row in self.rows],
        }


def convert_spec(
    spec: str,
    to: str,
    recipe: str | None,
    *,
    full: bool,
    save: Callable[[nn.Module], None] | None = None,
) -> Conversion:
    """Build the model that ``spec`` names, audit it and convert it.

    Args:
        to, recipe: a variant and a recipe by name, as a suite has them.
        save: is given the converted model.

    Raises:
        UserError: there is no such variant or recipe, the model cannot be built, or the recipe
            does not fit it.
    """
    layer = None if to == NATIVE else VARIANTS.load(to)
    start = None if recipe is None else RECIPES.load(recipe)
    model = zoo.load(spec, full=full).model
    parameters = sum(p.numel() for p in model.parameters())
    class_name = type(model).__name__
    sites = dyt.audit(model)
    source = None
    if layer is not None and any(site.replaceable for site in sites):
        try:
            if start is not None:
                chosen = resolve(start, model, [s for s in sites if s.replaceable])
                source = f"{chosen.name}: {chosen.source}"
            model = dyt.convert(model, layer, recipe=start, strict=False)
        except ValueError as error:
            raise UserError(f"model {quoted(spec)}: {error}") from None
    if save is not None:
        save(model)
    rows = []
    for site in sites:
        now = model.get_submodule(site.name)
        becomes = None if now is site.module else _describe(now)
        kept = "native leaves it" if layer is None else "the recipe leaves it"
        reason = site.reason or (None if becomes else kept)
        rows.append(
            NormRow(
                site.name,
                site.class_name,
                site.kind,
                site.role,
                site.normalized_shape,
                site.channels_last,
                site.affine,
                becomes,
                reason,
            )
        )
    return Conversion(spec, class_name, parameters, source, tuple(rows))


def _describe(module: Any) -> str:
    layer = module.get_submodule("norm") if hasattr(module, "norm") else module
    alpha = getattr(layer, "alpha_init_value", None)
    return type(layer).__name__ + ("" if alpha is None else f" {alpha:g}")


def print_conversion(conversion: Conversion) -> None:
    """Print a table; norms that differ in nothing but their layer's number share a line."""
    groups: dict[tuple[object, ...], list[NormRow]] = {}
    for row in conversion.rows:
        groups.setdefault(row.grouped(), []).append(row)
    console = Console()
    title = f"{conversion.model}: {conversion.class_name}, {conversion.parameters:,} parameters"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for column in ("norm", "class", "width", "role", "becomes"):
        table.add_column(column, overflow="fold", justify="right" if column == "width" else "left")
    for group, rows in groups.items():
        first = rows[0]
        width = "x".join(map(str, first.normalized_shape)) or "any"
        table.add_row(
            f"{group[0]} ×{len(rows)}" if len(rows) > 1 else first.name or "(the model)",
            first.class_name + ("" if first.affine or first.reason else ", no weight"),
            "" if first.reason else width + ("" if first.channels_last else " first"),
            "" if first.role == "unknown" else first.role,
            first.becomes or f"stays: {first.reason}",
        )
    console.print(table)
    replaced = sum(row.becomes is not None for row in conversion.rows)
    console.print(f"{replaced} of {len(conversion.rows)} norms replaced", highlight=False)
    if conversion.recipe is not None:
        console.print(f"recipe {conversion.recipe}", highlight=False)
