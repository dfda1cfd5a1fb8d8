"""The models by name: the architectures of `shapes`, built by transformers."""

from typing import Any

from torch import nn
from transformers import (
    Ernie4_5Config,
    Ernie4_5ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from dyt_bench.plugin.domain import entry
from dyt_llm.shapes import SHAPES, Shape

_LLAMA_LIKE = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "ernie": (Ernie4_5Config, Ernie4_5ForCausalLM),
}


def build(name: str, vocabulary: int) -> nn.Module:
    """The model called ``name`` with random weights; its output has ``.logits``.

    Raises:
        UserError: no model has that name.
    """
    shape = entry(SHAPES, name, "model")
    return _gpt2(shape, vocabulary) if shape.family == "gpt2" else _llama_like(shape, vocabulary)


def _llama_like(shape: Shape, vocabulary: int) -> nn.Module:
    config, model = _LLAMA_LIKE[shape.family]
    settings: dict[str, object] = {
        "vocab_size": vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads or shape.heads,
        "max_position_embeddings": shape.context,
        "use_cache": False,
        "bos_token_id": None,  # the data set decides its special tokens
        "eos_token_id": None,
        "pad_token_id": None,
        "attn_implementation": "sdpa",
    }
    built: nn.Module = model(config(**settings, **shape.more))
    return built


def _gpt2(shape: Shape, vocabulary: int) -> nn.Module:
    settings: dict[str, Any] = {
        "vocab_size": vocabulary,
        "n_embd": shape.width,
        "n_inner": shape.feed_forward,
        "n_layer": shape.layers,
        "n_head": shape.heads,
        "n_positions": shape.context,
        # pretraining sees each token once or a few times: nanoGPT uses no dropout
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "use_cache": False,
        "bos_token_id": None,
        "eos_token_id": None,
        "attn_implementation": "sdpa",
        **shape.more,
    }
    return GPT2LMHeadModel(GPT2Config(**settings))
