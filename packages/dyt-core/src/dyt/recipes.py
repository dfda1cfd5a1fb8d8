"""Named ways to choose alpha at the start, each with its source.

A recipe maps a norm site to its alpha; hand its ``alpha`` to `dyt.convert` as
``alpha_init_value``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from dyt.convert import NormSite


@dataclass(frozen=True)
class Recipe:
    """A named rule for alpha."""

    name: str
    alpha: Callable[[NormSite], float]
    source: str


# width -> (alpha of the norm before attention, alpha of every other norm)
_LLAMA_ALPHA = {4096: (0.8, 0.2), 5120: (0.6, 0.15), 8192: (0.2, 0.05)}


def _llama_alpha(site: NormSite) -> float:
    """The table's entry at the nearest width: below 4096 the paper says nothing."""
    width = min(_LLAMA_ALPHA, key=lambda known: abs(known - site.normalized_shape[-1]))
    attention, rest = _LLAMA_ALPHA[width]
    before_attention = "input_layernorm" in site.name or "attention" in site.name
    return attention if before_attention else rest


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            Recipe("swap-only", lambda site: 0.5, "arXiv 2503.10622, section 5: 0.5 but for LLMs"),
            Recipe("llama", _llama_alpha, "arXiv 2503.10622, section 7: LLaMA 7B to 70B"),
        )
    }
)
