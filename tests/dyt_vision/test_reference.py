"""The reference score: what naming the most frequent class reaches."""

import pytest
from tests.dyt_images.layouts import save_images

from dyt_vision import domain


def test_the_reference_score_is_the_majority_class(task):
    data = domain.build_data(task())
    assert domain.reference_score(task(), data) == pytest.approx(0.1, abs=0.01)


def test_it_is_the_share_in_validation_of_the_class_most_frequent_in_training(task, tmp_path):
    """Also where another class is more frequent in validation."""
    for part, red, blue in (("train", 3, 1), ("val", 1, 4)):
        save_images(tmp_path / part / "red", red)
        save_images(tmp_path / part / "blue", blue)
    given = task(dataset="imagenet", path=tmp_path, batch_size=2)
    assert domain.reference_score(given, domain.build_data(given)) == 1 / 5
