"""wav2vec 2.0 at the suite's size: its parts, and which norms the paper replaces."""

import pytest
import torch

import dyt
from dyt_speech.models import MODELS


@pytest.fixture(scope="module")
def model():
    return MODELS["wav2vec2"]()


def test_a_second_is_49_frames(model):
    frames = model.wav2vec2(torch.randn(2, 16_000)).last_hidden_state
    assert frames.shape == (2, 49, 64)


def test_the_papers_norms_are_swapped_and_no_other():
    model = dyt.convert(MODELS["wav2vec2"](), "dyt")
    swapped = {name for name, m in model.named_modules() if isinstance(m, dyt.DynamicTanh)}
    layers = {
        f"wav2vec2.encoder.layers.{number}.{norm}"
        for number in range(4)
        for norm in ("layer_norm", "final_layer_norm")
    }
    ends = {"wav2vec2.encoder.layer_norm", "wav2vec2.feature_projection.layer_norm"}
    assert swapped == layers | ends
    (kept,) = [site for site in dyt.audit(model) if site.reason is not None]
    assert isinstance(kept.module, torch.nn.GroupNorm)


def test_the_quantizer_draws_in_training_only(model):
    features = torch.randn(2, 49, 32)
    quantize = model.eval().quantizer
    assert torch.equal(quantize(features)[0], quantize(features)[0])
    quantize = model.train().quantizer
    assert not torch.equal(quantize(features)[0], quantize(features)[0])
