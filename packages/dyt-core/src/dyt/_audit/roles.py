"""Read the role of a norm from its qualified name, as far as names show it."""

import re
from collections.abc import Sequence

from dyt._audit.sites import Role

# Of the parts of a name, lower case.
_QUERY_KEY = re.compile(
    r"^(q|k|qk|kv|query|key)_?(a_|b_)?(layer)?_?norm|^norm_?(q|k|qk|kv|added_[qk])(?![a-z])"
    r"|(query|key)_?(layer)?_?norm|^(layer)?norm_?(query|key)|^[qk]_ln$|^ln_[qk]$"
)
_FEATURES = re.compile(r"feature_extract|feature_projection|feature_encoder|^conv_?layers|subsampl")
_EMBEDDING = re.compile(r"embed|tokenizer|^stem")
_ATTENTION = re.compile(
    r"^input_?(layer)?_?norm|attn|attention|^norm_?1$|^ln_?1$|^layer_?norm_?1$|^(layer)?_?norm_before$"
    r"|^norm_1$|^pre_?norm$"
)
_FEED_FORWARD = re.compile(
    r"ffn?(?![a-z])|mlp|feed_?forward|^norm_?2$|^ln_?2$|^layer_?norm_?2$|^(layer)?_?norm_after$"
    r"|^post_attention_(layer)?_?norm|^final_layer_?norm$|^output$|^intermediate$|^moe"
)
# Before the feed-forward part, though "attention" is in the name.
_AFTER_ATTENTION = re.compile(r"^post_(self_)?attention_(layer)?_?norm$|^post_attn_norm$")


def role_of(name: str, siblings: Sequence[str] = ()) -> Role:
    """The role of the norm called ``name``, beside norms called ``siblings`` in one parent.

    Within a block a name is read from its last part to its first: in BERT,
    ``attention.output.LayerNorm`` comes after attention and ``output.LayerNorm`` after the
    feed-forward part. A norm outside and after all blocks is final.
    """
    parts = name.lower().split(".")
    last = parts[-1]
    if _QUERY_KEY.search(last):
        return "query/key"
    if any(_FEATURES.search(part) for part in parts):
        return "feature extractor"
    if any(_EMBEDDING.search(part) for part in parts):
        return "embedding"
    if not any(part.isdigit() for part in parts):
        return _outside_blocks(parts)
    if _AFTER_ATTENTION.search(last):
        # Where a norm before the feed-forward part follows, this one ends attention (Gemma 2).
        ends = any(re.search(r"^pre_(feed_?forward|ffn?|mlp)", s.lower()) for s in siblings)
        return "attention" if ends else "feed-forward"
    within = parts[max(i for i, part in enumerate(parts) if part.isdigit()) + 1 :]
    for part in reversed(within):
        if _FEED_FORWARD.search(part) and not (part == "output" and "attention" in within):
            return "feed-forward"
        if _ATTENTION.search(part):
            return "attention"
    return "unknown"


def _outside_blocks(parts: list[str]) -> Role:
    last = parts[-1]
    if re.search(r"^(pre|in|input)_|_pre$|^emb", last):
        return "embedding"
    if re.search(r"norm|^ln|^layer_?norm", last):
        return "final"
    return "unknown"
