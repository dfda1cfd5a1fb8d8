"""Default configurations of the libraries made small, by the names of their keys.

Only sizes change: the model keeps its kinds of layers, and the class and place of its norms.
"""

import re
from collections.abc import Mapping
from typing import Any

WIDTH, HEADS, LAYERS, VOCABULARY, POSITIONS = 64, 4, 2, 128, 256

# The first pattern found in a key gives the size; a smaller default stays.
_CAPS: list[tuple[str, int]] = [
    (r"vocab.*size|vocab_dim|num_embeddings|n_tokens?$|codebook_size$|num_text_tokens", VOCABULARY),
    (r"max_.*position|n_positions|n_ctx|max_seq|context_length|block_size$", POSITIONS),
    (r"n_group$|topk_group", 1),
    (r"top_?k|experts_per|_per_tok|moe_k$", 2),
    (r"num_(local_)?experts$|n_routed_experts|moe_num_experts", 4),
    (r"n_shared|num_shared", 1),
    (r"(key_value|kv)_heads|n_head_kv|num_kv|query_groups", 2),
    (
        r"num.*heads|n_heads?$|encoder_attention_heads|decoder_attention_heads|attention_heads",
        HEADS,
    ),
    (r"(num|n).*(layers|blocks)$|n_layer|depth$|num_hidden|.*_layers$", LAYERS),
    (
        r"intermediate|ffn_dim|ffn_hidden|feed_?forward|mlp_dim|d_ff$|mlp_hidden|inner_dim",
        2 * WIDTH,
    ),
    (r"head_dim|d_kv$|qk_nope|v_head|head_size|dim_head|d_head", WIDTH // HEADS),
    (r"qk_rope", 8),
    (r"(q|kv|o|index)_lora_rank|lora_rank|time_step_rank", 16),
    (
        r"hidden_size|hidden_dim|d_model|embed_dim|n_embd|embedding_size|projection_dim|model_dim"
        r"|embedding_dim|projection_size|hidden_channels|lstm_dim|width$|_width$|dim_model|d_embed"
        r"|attention_dim|cross_attention_dim|joint_attention_dim|caption_channels|text_dim",
        WIDTH,
    ),
]
_SMALLER = [(re.compile(pattern), cap) for pattern, cap in _CAPS]


# These name layers by number; without them a configuration chooses among its layers.
_BY_LAYER = {"out_features", "out_indices", "_out_features", "_out_indices", "stage_names"}
_BY_LAYER |= {"per_layer_config"}


def shrink(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` with the sizes that are recognized by their names made small, at any depth."""
    small = {key: _shrunk(key, value) for key, value in config.items() if key not in _BY_LAYER}
    return _consistent(small, config)


def _shrunk(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return shrink(value) if all(isinstance(k, str) for k in value) else value
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if re.search(r"_(id|index|idx|ids)$|token_id", key):
        return value if 0 <= value < VOCABULARY or value < 0 else VOCABULARY - 1 - value % 16
    if re.search(r"feat_extract|conv", key):
        return value  # lists beside it count the layers of a feature extractor
    for pattern, cap in _SMALLER:
        if pattern.search(key):
            return min(value, cap)
    return value


def _consistent(small: dict[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Lists with an entry a layer are cut to the new number of layers."""
    _one_of_each_kind(small, config)
    heads = next((k for k in ("num_attention_heads", "n_head", "num_heads") if k in config), "")
    for key in ("num_key_value_heads", "num_kv_heads"):
        if key in config and config[key] == config.get(heads):
            small[key] = small[heads]
    if isinstance(config.get("num_heads"), list | tuple):
        # Heads by stage divide the widths by stage, which follow from the first.
        small |= {key: config[key] for key in ("embed_dim", "hidden_size") if key in config}
    if re.search(r"vl|omni|4v|qwen2_5", str(config.get("model_type"))):
        for key in ("rope_parameters", "rope_scaling"):
            if isinstance(small.get(key), dict) and small[key].get("rope_type") != "axial":
                small[key] = {"mrope_section": [2, 3, 3], **small[key]}
    if "prediction_length" in config and config["prediction_length"] is None:
        small["prediction_length"] = 4
    for key in ("axes_dims_rope", "axes_dim", "axes_dims", "rope_axes_dim"):
        if isinstance(small.get(key), list | tuple) and len(small[key]) == 3:
            small[key] = (4, 6, 6)  # a head's width in all
    if small.get("mrope_section"):
        # Half of a head's rotated width in all.
        small["mrope_section"] = (
            [1, 1, 2] if small.get("partial_rotary_factor") == 0.5 else [2, 3, 3]
        )
    for heads, expand, width in (
        ("mamba_n_heads", "mamba_expand", "mamba_d_head"),
        ("n_mamba_heads", "mamba_expand", "mamba_headdim"),
        ("num_heads", "expand", "head_dim"),
    ):
        if heads in config and expand in config and isinstance(small.get(width), int):
            small[heads] = int(small[expand] * small["hidden_size"]) // small[width]
    return small


def _one_of_each_kind(small: dict[str, Any], config: Mapping[str, Any]) -> None:
    layers = config.get("num_hidden_layers")
    lists = {
        key: value
        for key, value in config.items()
        if isinstance(value, list | tuple) and value and len(value) == layers
    }
    for value in lists.values():
        kinds = len({str(entry) for entry in value})
        small["num_hidden_layers"] = max(small["num_hidden_layers"], kinds)
    for key, value in lists.items():
        first = {str(entry): entry for entry in reversed(value)}  # one entry of each kind
        picked = list(dict.fromkeys(map(str, value)))
        count = small["num_hidden_layers"]
        small[key] = [first[kind] for kind in (picked * count)[:count]]
