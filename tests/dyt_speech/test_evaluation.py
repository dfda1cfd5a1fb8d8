"""What is measured once: a linear probe of the features, and which codes are in use."""

import matplotlib.image
import numpy as np
import pytest
import torch

from dyt_speech import domain
from dyt_speech.evaluation import code_usage, linear_probe


@pytest.fixture
def trained(task):
    def make(**changes):
        torch.manual_seed(0)
        chosen = task(**changes)
        data = domain.build_data(chosen)
        return chosen, domain.build_module(chosen, data).eval(), data

    return make


def test_the_clips_are_evaluated_the_same_way_twice(trained, tmp_path):
    task, module, data = trained()
    metrics = domain.evaluate(task, module, data, tmp_path)
    assert metrics == domain.evaluate(task, module, data, tmp_path)
    assert metrics["probe_windows"] == 30  # whole seconds
    assert metrics["probe_majority"] == pytest.approx(23 / 30)
    assert 0 <= metrics["probe_acc"] <= 1
    assert 2 <= metrics["codes_used"] <= 16
    assert metrics["recordings_left_out"] == 0
    assert [file.name for file in tmp_path.iterdir()] == ["codes.png"]
    assert matplotlib.image.imread(tmp_path / "codes.png").shape[0] > 200


def test_the_probe_tells_apart_what_differs(trained, tmp_path, tone):
    for number in range(5):
        tone(tmp_path / "low" / f"{number}.wav", hertz=150 + number)
        tone(tmp_path / "high" / f"{number}.wav", hertz=3_000 + number)
    _, module, data = trained(dataset="folder", path=tmp_path)
    with torch.no_grad():
        probe = linear_probe(module, data)
    assert probe == {
        "probe_acc": 1.0,
        "probe_mel": 1.0,
        "probe_majority": 0.5,
        "probe_windows": 20,
    }


def test_one_label_is_nothing_to_probe(trained, tmp_path, tone):
    for number in range(5):
        tone(tmp_path / f"{number}.wav", hertz=150 + number)
    _, module, data = trained(dataset="folder", path=tmp_path)
    assert linear_probe(module, data) == {}


def test_codes_are_counted_over_the_held_out_frames(trained):
    _, module, data = trained()
    with torch.no_grad():
        usage = code_usage(module, data)
    assert usage.shape == (2, 8)
    assert np.all(usage.sum(1) == 49 * len(data.val))
