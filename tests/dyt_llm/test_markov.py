from math import log

import pytest
import torch

from dyt_llm.markov import _WEIGHT, longest_word, markov_nats

SEEN = torch.randint(3, (200,), generator=torch.Generator().manual_seed(0))
WINDOWS = torch.randint(3, (4, 6), generator=torch.Generator().manual_seed(1))


def probability(context: list[int], token: int) -> float:
    """The formula, word by word."""
    seen, size = SEEN.tolist(), len(context)
    lower = probability(context[1:], token) if context else 1 / 3
    places = range(len(seen) - size + 1)
    before = sum(seen[i : i + size] == context for i in places) if context else len(seen)
    both = sum(seen[i : i + size + 1] == [*context, token] for i in places)
    return (both + _WEIGHT * lower) / (before + _WEIGHT)


@pytest.mark.parametrize("order", [0, 1, 3, 5])
def test_the_chain_is_the_formulas(order: int) -> None:
    nats = 0.0
    for window in WINDOWS.tolist():
        for place in range(1, len(window)):
            nats -= log(probability(window[max(0, place - order) : place], window[place]))
    assert markov_nats(SEEN, WINDOWS, 3, order) == pytest.approx(nats)


def test_order_zero_is_the_entropy_of_frequencies() -> None:
    seen = torch.tensor([0, 0, 0, 1] * 25_000)
    windows = torch.tensor([[0, 0, 0, 0, 1]])
    entropy = -(0.75 * log(0.75) + 0.25 * log(0.25))
    assert markov_nats(seen, windows, 2, 0) / 4 == pytest.approx(entropy, rel=1e-3)


@pytest.mark.parametrize("vocabulary", [256, 1024, 50257])
def test_the_longest_word_has_a_number_of_63_bits(vocabulary: int) -> None:
    length = longest_word(vocabulary)
    assert vocabulary**length < 2**63 <= vocabulary ** (length + 1)


@pytest.mark.parametrize("order", [-1, 7])
def test_an_order_that_cannot_be_counted_is_named(order: int) -> None:
    with pytest.raises(ValueError, match="order must be 0 to 6 for 256 tokens"):
        markov_nats(SEEN, WINDOWS, 256, order)
