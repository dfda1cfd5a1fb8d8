"""The alphabet: what a token stands for."""

import torch
from torch import Tensor

BASES = "ACGTN"  # a token is a base's place in here; N: not known which
UNKNOWN = BASES.index("N")
MASK = len(BASES)  # the token in place of a base that a masked language model is to guess
TOKENS = (*BASES, "[MASK]")
COMPLEMENT = (3, 2, 1, 0, UNKNOWN, MASK)  # token -> the token across, on the other strand


def reverse_complement(tokens: Tensor) -> Tensor:
    """(..., L) int64 -> (..., L): the other strand, in the direction it is read."""
    return torch.tensor(COMPLEMENT, device=tokens.device)[tokens.flip(-1)]
