"""LLaMA at the suite's size, built by transformers."""

from collections.abc import Callable

from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM


def _llama(vocabulary: int, context: int) -> nn.Module:
    config = LlamaConfig(  # type: ignore[call-arg]  # attn_implementation is the base class's
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=344,  # 8/3 of the width, rounded up to eights, as in LLaMA
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=context,
        use_cache=False,
        bos_token_id=None,  # the text has no special tokens
        eos_token_id=None,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


# name -> (vocabulary, context) -> model whose output has `.logits`
MODELS: dict[str, Callable[[int, int], nn.Module]] = {"llama": _llama}
