"""The alphabet: bases as tokens, and the reverse complement."""

import torch
from torch import Tensor

BASES = "ACGTN"  # a token is a base's place in here; N is an unknown base
UNKNOWN = BASES.index("N")
MASK = len(BASES)  # the token in place of a base that a masked language model predicts
TOKENS = (*BASES, "[MASK]")
COMPLEMENT = (3, 2, 1, 0, UNKNOWN, MASK)  # token -> its partner on the other strand


def reverse_complement(tokens: Tensor) -> Tensor:
    """(..., L) int64 -> (..., L): the other strand, in its own reading direction."""
    return torch.tensor(COMPLEMENT, device=tokens.device)[tokens.flip(-1)]
