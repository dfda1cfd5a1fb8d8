"""The Markov chain against an independent count, and the cases at its edges."""

import math
import subprocess
import sys
from itertools import product

import numpy as np
import pytest

from dyt_bench.plugin import markov
from dyt_bench.plugin.markov import longest_word, markov_nats

WEIGHT = 3.0
RANDOM = np.random.default_rng(0)
TRAIN = [RANDOM.integers(3, size=length) for length in (90, 1, 40)]
WINDOWS = RANDOM.integers(3, size=(4, 6))
WITH_UNKNOWN = [np.where(RANDOM.random(len(each)) < 0.2, -1, each) for each in TRAIN]
WINDOWS_WITH_UNKNOWN = np.where(RANDOM.random(WINDOWS.shape) < 0.2, -1, WINDOWS)


def probability(train, context, token):
    """The formula, one occurrence at a time."""
    lower = probability(train, context[1:], token) if context else 1 / 3
    size, before, both = len(context), 0, 0
    for sequence in train:
        sequence = sequence.tolist()
        for place in range(size, len(sequence)):
            if sequence[place - size : place] == context and sequence[place] >= 0:
                before += 1
                both += sequence[place] == token
    return (both + WEIGHT * lower) / (before + WEIGHT)


def independent(train, windows, order):
    nats = 0.0
    for window in windows.tolist():
        for place in range(1, len(window)):
            if window[place] >= 0:
                context = window[max(0, place - order) : place]
                while -1 in context:
                    context = context[1:]
                nats -= math.log(probability(train, context, window[place]))
    return nats


@pytest.mark.parametrize("table", [True, False], ids=["table", "sorted"])
@pytest.mark.parametrize("order", [0, 1, 3, 5])
@pytest.mark.parametrize(
    ("train", "windows"),
    [(TRAIN, WINDOWS), (WITH_UNKNOWN, WINDOWS_WITH_UNKNOWN)],
    ids=["known", "unknown tokens"],
)
def test_the_chain_is_the_formulas(train, windows, order, table, monkeypatch):
    if not table:
        monkeypatch.setattr(markov, "_TABLE", 0)
    nats = markov_nats(train, windows, vocabulary=3, order=order, weight=WEIGHT)
    assert nats == pytest.approx(independent(train, windows, order))


@pytest.mark.parametrize("order", [0, 2])
def test_probabilities_of_all_tokens_sum_to_one(order):
    for context in product(range(3), repeat=2):
        nats = [
            markov_nats(TRAIN, window, vocabulary=3, order=order, weight=WEIGHT)
            for token in range(3)
            for window in [np.array([[*context, token]])]
        ]
        first = markov_nats(
            TRAIN, np.array([context]), vocabulary=3, order=order, weight=WEIGHT
        )  # of the second token, in all three windows
        assert sum(math.exp(first - each) for each in nats) == pytest.approx(1)


def test_only_targets_are_predicted_and_the_rest_is_context():
    windows = np.array([[0, 1, 2, 0]])
    each = [
        markov_nats(
            TRAIN, windows, vocabulary=3, order=2, weight=WEIGHT, targets=np.arange(4) == [[place]]
        )
        for place in range(4)
    ]
    assert each[0] == 0  # nothing comes before it
    assert each[3] == pytest.approx(-math.log(probability(TRAIN, [1, 2], 0)))
    whole = markov_nats(TRAIN, windows, vocabulary=3, order=2, weight=WEIGHT)
    assert sum(each) == pytest.approx(whole)


def test_a_chain_that_has_seen_nothing_guesses():
    for train in ([], [np.zeros(0, int)], [np.full(9, -1)]):
        nats = markov_nats(train, WINDOWS, vocabulary=3, order=2, weight=WEIGHT)
        assert nats == pytest.approx(20 * math.log(3))


def test_order_zero_is_the_entropy_of_frequencies():
    train = [np.tile([0, 0, 0, 1], 25_000)]
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    nats = markov_nats(train, np.array([[0, 0, 0, 0, 1]]), vocabulary=2, order=0, weight=WEIGHT)
    assert nats / 4 == pytest.approx(entropy, rel=1e-3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_any_integer_type_is_counted(dtype):
    train = [RANDOM.integers(200, size=500)]
    windows = RANDOM.integers(200, size=(2, 9))
    expected = markov_nats(train, windows, vocabulary=200, order=4, weight=WEIGHT)
    narrow = [each.astype(dtype) for each in train]
    nats = markov_nats(narrow, windows.astype(dtype), vocabulary=200, order=4, weight=WEIGHT)
    assert nats == expected


@pytest.mark.parametrize("vocabulary", [4, 256, 1024, 50257])
def test_the_longest_word_has_a_number_of_63_bits(vocabulary):
    length = longest_word(vocabulary)
    assert vocabulary**length < 2**63 <= vocabulary ** (length + 1)


@pytest.mark.parametrize("order", [-1, 7])
def test_an_order_that_cannot_be_counted_is_named(order):
    with pytest.raises(ValueError, match=f"order must be 0 to 6 for 256 tokens, got {order}"):
        markov_nats(TRAIN, WINDOWS, vocabulary=256, order=order, weight=WEIGHT)


def test_torch_is_not_imported():
    code = "import sys, dyt_bench.plugin.markov; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
