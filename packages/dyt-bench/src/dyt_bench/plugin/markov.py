"""A Markov chain over tokens, as the reference score of a language model. Needs numpy only."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["longest_word", "markov_nats"]

Tokens = NDArray[np.integer[Any]]
Words = tuple[NDArray[np.int64], NDArray[np.bool_]]  # number of each word; whether all is known

# Up to this many possible words, all are counted in a table; beyond, only the words that are looked
# up. 4 ** 11: a chain of order 10 over nucleotides takes a table of 32 MiB.
_TABLE = 2**22


def markov_nats(
    train: Iterable[Tokens],
    windows: Tokens,
    *,
    vocabulary: int,
    order: int,
    weight: float,
    targets: NDArray[np.bool_] | None = None,
) -> float:
    """Loss of an interpolated Markov chain, in nats, summed over the targets in ``windows``.

    The chain is counted on ``train``. Starting from p = 1 / vocabulary, each order k refines the
    one below it::

        p_k(t | context) = (count(context t) + weight * p_{k-1}(t | context without its first))
                           / (count(context followed by any token) + weight)

    so each p_k sums to 1 over t. Order 0 is the frequency of single tokens. The context of a
    target is the ``order`` tokens before it in its window. At the start of a window and after an
    unknown token it is shorter, as there is no more to read.

    Args:
        train: sequences (T,) of tokens, from 0 to ``vocabulary`` - 1; any negative number is an
            unknown token, which no word contains.
        windows: (N, T), tokens in the same way.
        order: how many tokens the chain looks back, 0 or more.
        weight: of the order below, in counts.
        targets: (N, T), which tokens are predicted. Default: all but the first of each window. A
            token without a predecessor, or an unknown one, is never a target.

    Raises:
        ValueError: ``order`` is negative, or so high that words have no number below 2 ** 63.
    """
    highest = longest_word(vocabulary) - 1
    if not 0 <= order <= highest:
        raise ValueError(f"order must be 0 to {highest} for {vocabulary} tokens, got {order}")
    chosen = windows >= 0
    chosen[:, 0] = False
    if targets is not None:
        chosen &= targets
    chance = np.full(windows.shape, 1 / vocabulary)
    longer = [_words(sequence, vocabulary, order + 1) for sequence in train]
    for size, (words, known) in enumerate(_words(windows, vocabulary, order + 1), start=1):
        seen = np.concatenate(
            [numbers[all_known] for numbers, all_known in map(next, longer)] or [np.zeros(0, int)]
        )
        ends = np.zeros_like(chosen)  # where a target ends a word of this size
        ends[:, size - 1 :] = known & chosen[:, size - 1 :]
        wanted = words[ends[:, size - 1 :]]
        both = _count(wanted, seen, vocabulary**size)
        # The last token is a word's lowest digit: without it the context remains.
        context = _count(wanted // vocabulary, seen // vocabulary, vocabulary ** (size - 1))
        chance[ends] = (both + weight * chance[ends]) / (context + weight)
    return float(-np.log(chance[chosen]).sum())


def longest_word(vocabulary: int) -> int:
    """How many tokens a word may have so that its number stays below 2 ** 63."""
    length = 1
    while vocabulary ** (length + 1) < 2**63:
        length += 1
    return length


def _words(tokens: Tokens, vocabulary: int, longest: int) -> Iterator[Words]:
    """(..., T) -> for each size from 1 to ``longest`` all words (..., T - size + 1), in order.

    A word is a number with the base ``vocabulary``, its first token the highest digit.
    """
    words, known = tokens.astype(np.int64), tokens >= 0
    yield words, known
    for size in range(2, longest + 1):
        added = tokens[..., size - 1 :]
        words = vocabulary * words[..., : added.shape[-1]] + added
        known = known[..., : added.shape[-1]] & (added >= 0)
        yield words, known


def _count(
    words: NDArray[np.int64], seen: NDArray[np.int64], possible: int
) -> NDArray[np.integer[Any]]:
    """How often each of ``words`` occurs in ``seen``; all are below ``possible``."""
    if possible <= _TABLE:
        return np.bincount(seen, minlength=possible)[words]
    distinct, place = np.unique(words, return_inverse=True)
    nearest = np.searchsorted(distinct, seen).clip(max=max(0, len(distinct) - 1))
    counts = np.bincount(nearest[distinct[nearest] == seen], minlength=len(distinct))
    return counts[place]
