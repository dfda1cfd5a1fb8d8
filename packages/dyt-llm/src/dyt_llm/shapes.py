"""The architectures as numbers: small ones for two cores, and the published ones. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A decoder-only transformer, as transformers builds its family."""

    family: Literal["llama", "mistral", "ernie", "gpt2"]
    width: int
    feed_forward: int
    layers: int
    heads: int
    kv_heads: int | None = None  # fewer share keys and values; None: every head has its own
    context: int = 128  # tokens that the model reads, and predicts, in one window
    more: Mapping[str, object] = field(default_factory=dict)  # settings of the configuration


def _start(width: int) -> dict[str, object]:
    """Weights of a small model start with a standard deviation of 1 / sqrt(width).

    The libraries' 0.02 suits a model of width 2,500. At width 64 it shrinks a layer's output to a
    sixth of its input, which a norm undoes and DyT does not.
    """
    return {"initializer_range": width**-0.5}


def _llama(width: int) -> Shape:
    """Small: heads of 32, a feed-forward width of 8/3 of the width, rounded up to eights."""
    feed_forward = -(-8 * width // 3 // 8) * 8
    return Shape(
        family="llama",
        width=width,
        feed_forward=feed_forward,
        layers=4,
        heads=width // 32,
        more=_start(width),
    )


_LLAMA_2 = {"rms_norm_eps": 1e-5}

SHAPES: dict[str, Shape] = {
    "llama": _llama(64),
    "llama-std02": replace(_llama(64), more={}),  # transformers' initializer_range
    "llama-w128": _llama(128),
    "llama-w256": _llama(256),
    # As in Mistral: a feed-forward part of 3.5 times the width, fewer heads for keys and values,
    # and a sliding window of half the context.
    "mistral": Shape(
        family="mistral",
        width=64,
        feed_forward=224,
        layers=4,
        heads=2,
        kv_heads=1,
        more={"sliding_window": 64, **_start(64)},
    ),
    # As in ERNIE 4.5 0.3B: fewer heads for keys and values, heads wider than width / heads, tied
    # embeddings.
    "ernie": Shape(
        family="ernie",
        width=64,
        feed_forward=192,
        layers=4,
        heads=2,
        kv_heads=1,
        more={"head_dim": 64, "tie_word_embeddings": True, **_start(64)},
    ),
    "gpt2": Shape(family="gpt2", width=64, feed_forward=256, layers=4, heads=2, more=_start(64)),
    # arXiv 2302.13971, table 2, and arXiv 2307.09288, appendix A.1: LLaMA 2's context.
    "llama-7b": Shape(
        family="llama",
        width=4096,
        feed_forward=11008,
        layers=32,
        heads=32,
        context=4096,
        more=_LLAMA_2,
    ),
    "llama-13b": Shape(
        family="llama",
        width=5120,
        feed_forward=13824,
        layers=40,
        heads=40,
        context=4096,
        more=_LLAMA_2,
    ),
    # LLaMA 2 34B was not released; Code Llama 34B has its shape (arXiv 2308.12950).
    "llama-34b": Shape(
        family="llama",
        width=8192,
        feed_forward=22016,
        layers=48,
        heads=64,
        kv_heads=8,
        context=4096,
        more=_LLAMA_2,
    ),
    "llama-70b": Shape(
        family="llama",
        width=8192,
        feed_forward=28672,
        layers=80,
        heads=64,
        kv_heads=8,
        context=4096,
        more=_LLAMA_2,
    ),
    # arXiv 2310.06825, table 1.
    "mistral-7b": Shape(
        family="mistral",
        width=4096,
        feed_forward=14336,
        layers=32,
        heads=32,
        kv_heads=8,
        context=8192,
        more={"sliding_window": 4096, "rms_norm_eps": 1e-5},
    ),
    # baidu/ERNIE-4.5-0.3B-Base-PT, config.json; its context there is 131,072.
    "ernie-0.3b": Shape(
        family="ernie",
        width=1024,
        feed_forward=3072,
        layers=18,
        heads=16,
        kv_heads=2,
        context=4096,
        more={"head_dim": 128, "tie_word_embeddings": True},
    ),
    # As nanoGPT builds it: the exact GELU.
    "gpt2-124m": Shape(
        family="gpt2",
        width=768,
        feed_forward=3072,
        layers=12,
        heads=12,
        context=1024,
        more={"activation_function": "gelu"},
    ),
}
