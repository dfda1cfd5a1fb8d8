"""Layers whose parameters two processes share by FSDP2 are fitted and observed as those of one."""

import pytest
import torch

from .sharing import calibrated, probed, refused, together


@pytest.mark.slow
@pytest.mark.parametrize(("goal", "recipe"), [("norm", None), ("start", "llama")])
def test_calibrate_fits_shared_parameters_as_whole_ones(goal, recipe):
    whole = calibrated(goal, recipe, False)
    found = together(calibrated, goal, recipe, True)
    assert found["scale"] == pytest.approx(whole["scale"])
    assert found["fits"].keys() == whole["fits"].keys()
    for name, fit in whole["fits"].items():
        assert found["fits"][name] == pytest.approx(fit, rel=1e-4)
    for name, value in whole["values"].items():
        torch.testing.assert_close(found["values"][name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["dyt", "native"])
def test_probe_sees_the_same_of_shared_parameters(variant):
    whole = probed(False, variant)
    found = together(probed, True, variant)
    assert found["alphas"] == whole["alphas"]
    assert found["sites"].keys() == whole["sites"].keys()
    for name, (kind, *numbers) in whole["sites"].items():
        assert found["sites"][name][0] == kind
        for number, other in zip(numbers, found["sites"][name][1:], strict=True):
            assert other == (None if number is None else pytest.approx(number, rel=1e-4))


@pytest.mark.slow
def test_an_embedding_without_a_factor_is_one_sentence_and_changes_nothing():
    found = together(refused)
    assert "calibrate before fully_shard, or convert with a recipe" in found["said"]
    assert found["same"]
