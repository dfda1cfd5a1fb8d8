"""wav2vec 2.0 at its sizes: its parts, and which norms the paper replaces."""

import pytest
import torch

import dyt
from dyt_speech import domain
from dyt_speech.models import CONFIGS, build


@pytest.fixture(scope="module")
def model():
    return build("wav2vec2")


def test_every_model_of_the_catalog_can_be_built():
    assert list(CONFIGS) == list(domain.models)
    assert {model.training for model in domain.models.values()} == set(domain.trainings)


def test_a_second_is_49_frames(model):
    frames = model.wav2vec2(torch.randn(2, 16_000)).last_hidden_state
    assert frames.shape == (2, 49, 64)


@pytest.mark.parametrize(
    ("name", "layers", "million"),
    [("wav2vec2", 4, None), ("wav2vec2-base", 12, 95), ("wav2vec2-large", 24, 317)],
)
def test_the_papers_size_and_norms(name, layers, million):
    with torch.device("meta"):
        model = build(name)
    if million is not None:
        assert sum(p.numel() for p in model.parameters()) == pytest.approx(million * 1e6, rel=5e-3)
    exclude = domain.models[name].exclude
    swapped = {site.name for site in dyt.select(model, exclude=exclude)}
    inner = {
        f"wav2vec2.encoder.layers.{number}.{norm}"
        for number in range(layers)
        for norm in ("layer_norm", "final_layer_norm")
    }
    assert swapped == inner | {
        "wav2vec2.encoder.layer_norm",
        "wav2vec2.feature_projection.layer_norm",
    }
    assert swapped == {
        name
        for name, module in dyt.convert(model, "dyt", recipe="paper").named_modules()
        if isinstance(module, dyt.DynamicTanh)
    }


def test_layers_are_dropped_by_the_preset():
    with torch.device("meta"):
        assert build("wav2vec2-base", layer_drop=0.05).config.layerdrop == 0.05
        assert build("wav2vec2-base").config.layerdrop == 0


def test_the_quantizer_draws_in_training_only(model):
    features = torch.randn(2, 49, 32)
    quantize = model.eval().quantizer
    assert torch.equal(quantize(features)[0], quantize(features)[0])
    quantize = model.train().quantizer
    assert not torch.equal(quantize(features)[0], quantize(features)[0])
