"""Named ways to choose alpha at the start, each with its source.

A recipe maps a norm site to its alpha; hand its ``alpha`` to `dyt.convert` as
``alpha_init_value``.
"""

from collections.abc import Callable
from dataclasses import dataclass

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
    # transformers' name, and the original implementation's
    before_attention = site.name.endswith(("input_layernorm", "attention_norm"))
    return attention if before_attention else rest


SWAP_ONLY = Recipe("swap-only", lambda site: 0.5, "arXiv 2503.10622: 0.5 everywhere but in LLMs")
LLAMA = Recipe("llama", _llama_alpha, "arXiv 2503.10622: LLaMA 7B, 13B, 34B and 70B")
