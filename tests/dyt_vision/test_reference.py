"""Reference scores: the majority class, logistic regression, the nearest neighbour."""

import pytest
from tests.dyt_images.layouts import save_images

from dyt_vision import domain


def scores(task, data):
    return {each.role: each.score for each in domain.references(task, data)}


def test_simple_methods_on_the_digits(task):
    found = scores(task(), domain.build_data(task()))
    assert found["blind"] == pytest.approx(0.1, abs=0.01)
    # As published for this data set: logistic regression 96 %, 1-nearest neighbour 98 %.
    assert found["modest"] == pytest.approx(0.964, abs=0.01)
    assert found["strong"] == pytest.approx(0.986, abs=0.005)


def test_they_see_no_more_of_the_training_set_than_the_model(task):
    few = task(train_samples=100)
    assert scores(few, domain.build_data(few))["strong"] < 0.95


def test_blind_is_the_share_in_validation_of_the_class_most_frequent_in_training(task, tmp_path):
    """Also where another class is more frequent in validation."""
    for part, red, blue in (("train", 3, 1), ("val", 1, 4)):
        save_images(tmp_path / part / "red", red)
        save_images(tmp_path / part / "blue", blue)
    given = task(dataset="imagenet", path=tmp_path, batch_size=2)
    assert scores(given, domain.build_data(given))["blind"] == 1 / 5


def test_the_pixels_of_large_images_are_compared_with_nothing(task, tmp_path):
    for part in ("train", "val"):
        for name in ("red", "blue"):
            save_images(tmp_path / part / name, 2)
    given = task(model="vit-tiny", dataset="imagenet", path=tmp_path, batch_size=2)
    assert scores(given, domain.build_data(given)).keys() == {"blind"}
