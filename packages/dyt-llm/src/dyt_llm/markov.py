"""What predicts without a network: frequencies of tokens, and of tokens given those before."""

import torch
from torch import Tensor

COUNTED = 2**21  # tokens of the training text, at most: counting is to take a second or two
_WEIGHT = 64.0  # of the shorter context; of 4, 16 and 64 the best at order 5 on the stdlib


def markov_nats(train: Tensor, windows: Tensor, vocabulary: int, order: int) -> float:
    """Nats, in sum over ``windows``' targets, of a Markov chain counted on ``train``.

    From p = 1/vocabulary, each order starts from the one below it::

        p_k(t | context) = (count(context, t) + w p_{k-1}(t | context without its first token))
                           / (count(context) + w)

    Order 0 is the frequency of single tokens. Near the start of a window, where fewer tokens
    than the order come before, the chain has a shorter context, as a model has.

    Args:
        train: (T,) int64.
        windows: (N, context + 1) int64; all but the first token of each are targets.
        order: how many tokens the chain looks back, 0 and more.

    Raises:
        ValueError: order is negative, or so high that a word has no number below 2 ** 63.
    """
    highest = longest_word(vocabulary) - 1
    if not 0 <= order <= highest:
        raise ValueError(f"order must be 0 to {highest} for {vocabulary} tokens, got {order}")
    chance = torch.full(windows[:, 1:].shape, 1 / vocabulary, dtype=torch.float64)
    # Words ending at each token, as numbers: the last token is the lowest digit.
    words, seen = windows, train
    contexts = torch.full_like(windows, len(train), dtype=torch.float64)[:, 1:]
    for length in range(1, order + 2):
        if length > 1:
            place = vocabulary ** (length - 1)
            words = words[:, 1:] + place * windows[:, : 1 - length]
            seen = seen[1:] + place * train[: 1 - length]
        counts = _count(words, seen)
        at_targets = counts[:, 1:] if length == 1 else counts
        known = chance[:, max(0, length - 2) :]  # the first targets of a window lack such a word
        known.copy_((at_targets + _WEIGHT * known) / (contexts + _WEIGHT))
        contexts = counts[:, :-1]
    return float(-chance.log().sum())


def longest_word(vocabulary: int) -> int:
    """How many tokens at most can be told apart by one number of 63 bits."""
    length = 1
    while vocabulary ** (length + 1) < 2**63:
        length += 1
    return length


def _count(words: Tensor, seen: Tensor) -> Tensor:
    """How often each of ``words`` occurs in ``seen``."""
    distinct, place = words.unique(return_inverse=True)
    nearest = torch.searchsorted(distinct, seen).clamp_(max=len(distinct) - 1)
    counts = torch.bincount(nearest[distinct[nearest] == seen], minlength=len(distinct))
    return counts[place].double()
