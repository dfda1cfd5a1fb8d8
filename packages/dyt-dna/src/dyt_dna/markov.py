"""A Markov chain over bases: what a language model is to beat."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dyt_dna.bases import UNKNOWN
from dyt_dna.data import GenomeData
from dyt_dna.sequences import Stretch

COUNTED = 2**24  # bases at most, of both strands together: more move a chain of order 10 little


def markov_loss(data: GenomeData, order: int) -> float:
    """Loss, in nats per base, of a Markov chain on the targets that models are validated on.

    It guesses a base from the ``order`` before it, which it always sees. From p = 1/4, each
    order starts from the one below it::

        p_k(b | context) = (count(context, b) + w p_{k-1}(b | context without its first base))
                           / (count(context) + w)

    counted on the strands trained on. The weight w = 256 makes the chain strong: of the powers
    of four up to it, it gives the chloroplast the lowest loss at orders 4 to 8.

    Raises:
        ValueError: order is not between 0 and 10 (the table has 4 ** (order + 1) entries).
    """
    if not 0 <= order <= 10:
        raise ValueError(f"order must be between 0 and 10, got {order}")
    chance = torch.full((1, 4), 0.25, dtype=torch.float64)
    counted = _both_strands(data.split.train)
    for size in range(1, order + 2):
        counts = torch.zeros(4**size, dtype=torch.float64)
        for stretch in counted:
            words, known = _words(stretch.tokens, size)
            counts += torch.bincount(words[known], minlength=4**size)
        counts = counts.view(-1, 4)
        shorter = chance.repeat(len(counts) // len(chance), 1)  # the first base leads: forget it
        chance = (counts + 256 * shorter) / (counts.sum(dim=1, keepdim=True) + 256)
    return float(-chance.flatten()[_targets(data, order)].log().mean())


def _both_strands(stretches: Sequence[Stretch]) -> list[Stretch]:
    """Of both strands, from the beginning, as much as is counted."""
    left, strands = COUNTED // 2, []
    for stretch in stretches:
        part = stretch[:left]
        strands += [part, part.reverse_complement()]
        left -= len(part)
    return strands


def _targets(data: GenomeData, order: int) -> Tensor:
    """Each base that is validated on, as a word with the ``order`` known bases before it."""
    chosen = []
    for index in range(len(data.val_windows)):
        _, targets, _ = data.val[index]  # of all bases of the window but the first
        words, known = _words(data.val_windows[index].tokens, order + 1)
        place = max(order, 1)  # in the window, of the first base that is a target and ends a word
        wanted = (targets[place - 1 :] != UNKNOWN) & known[place - order :]
        chosen.append(words[place - order :][wanted])
    return torch.cat(chosen)


def _words(tokens: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Each word of ``size`` bases as a number in base 4, the first base leading; without an N?"""
    count = max(0, len(tokens) - size + 1)
    words = torch.zeros(count, dtype=torch.long)
    known = torch.ones(count, dtype=torch.bool)
    for place in range(size):
        letters = tokens[place : place + count]
        words = 4 * words + letters
        known &= letters != UNKNOWN
    return words, known
