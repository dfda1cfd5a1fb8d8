"""What is held out: a fifth of every class, always the same."""

import pytest

from dyt_bench.errors import DataError
from dyt_images.split import held_out


def test_a_fifth_of_every_class_is_held_out():
    labels = [0] * 50 + [1] * 10
    train, val = held_out(labels, ["a", "b"], least=2, source="mine")
    assert sorted([*train, *val]) == list(range(60))
    assert [labels[i] for i in val].count(0) == 10
    assert [labels[i] for i in val].count(1) == 2
    assert held_out(labels, ["a", "b"], least=2, source="mine") == (train, val)


@pytest.mark.parametrize(
    ("count", "least", "says"),
    [
        (1, 2, "mine: class 'b' has 1 image: expected at least 2, because a fifth is held out"),
        (4, 5, "mine: class 'b' has 4 images: expected at least 5, because a fifth is held out"),
        (0, 2, "mine: class 'b' has 0 images: expected at least 2, because a fifth is held out"),
    ],
)
def test_a_class_that_is_too_small_is_named(count, least, says):
    with pytest.raises(DataError) as error:
        held_out([0] * 50 + [1] * count, ["a", "b"], least=least, source="mine")
    assert str(error.value) == says


def test_too_few_images_for_their_classes():
    with pytest.raises(DataError, match="mine: 6 images in 3 classes are too few: expected five"):
        held_out([0, 0, 1, 1, 2, 2], list("abc"), least=2, source="mine")
