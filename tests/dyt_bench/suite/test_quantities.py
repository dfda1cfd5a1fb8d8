"""Durations and sizes as people write them, and the message about anything else."""

import pytest

from dyt_bench.suite.quantities import in_words, seconds, size


@pytest.mark.parametrize(
    ("text", "value"),
    [("90s", 90), ("1.5h", 5400), ("30 m", 1800), ("1d", 86400), (45, 45), ("0.5", 0.5)],
)
def test_durations(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize(
    ("text", "value"), [("8GiB", 2**33), ("800mb", 8e8), ("2 KiB", 2048), (4096, 4096)]
)
def test_sizes(text, value):
    assert size(text) == value


@pytest.mark.parametrize("text", ["", "m", "-5s", "0", "5 parsecs", "1e3", "nan", True, [1]])
def test_anything_else_is_a_mistake(text):
    with pytest.raises(ValueError, match="expected a duration such as 90s, 30m, 2h or 1d"):
        seconds(text)


@pytest.mark.parametrize(
    ("value", "words"), [(0.4, "0 s"), (59.4, "59 s"), (200, "3:20 min"), (7500, "2:05 h")]
)
def test_words(value, words):
    assert in_words(value) == words
