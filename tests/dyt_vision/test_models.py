"""The architectures: sizes as published, any channels and classes, every norm found."""

import pytest
import torch

import dyt
from dyt_vision import domain
from dyt_vision.models import ARCHITECTURES


def test_every_model_of_the_catalogue_can_be_built():
    assert ARCHITECTURES.keys() == domain.models.keys()


@pytest.mark.parametrize("pixels", [8, 28, 32])
@pytest.mark.parametrize("name", [n for n in ARCHITECTURES if ARCHITECTURES[n].pixels is None])
def test_small_models_take_any_size_channels_and_classes(name, pixels):
    model = ARCHITECTURES[name].build(3, pixels, 2, 0.0)
    assert model(torch.randn(1, 3, pixels, pixels)).shape == (1, 2)


@pytest.mark.parametrize(
    ("name", "millions"),
    # as their papers count: arXiv 2010.11929, 2012.12877, 2201.03545; atto to nano: timm
    [
        ("vit-tiny", 5.7),
        ("vit-small", 22.1),
        ("vit-base", 86.6),
        ("vit-large", 304.3),
        ("convnext-atto", 3.7),
        ("convnext-femto", 5.2),
        ("convnext-pico", 9.1),
        ("convnext-nano", 15.6),
        ("convnext-tiny", 28.6),
        ("convnext-small", 50.2),
        ("convnext-base", 88.6),
        ("convnext-large", 197.8),
    ],
)
def test_sizes_are_the_papers(name, millions):
    with torch.device("meta"):
        model = ARCHITECTURES[name].build(3, 224, 1000, 0.0)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count / 1e6 == pytest.approx(millions, rel=0.01)
    sites = dyt.audit(model)
    assert sites
    assert all(site.replaceable for site in sites)


def test_paths_are_dropped_as_the_preset_says():
    dropped = ARCHITECTURES["vit-tiny"].build(3, 224, 10, 0.4)
    rates = [m.drop_prob for m in dropped.modules() if type(m).__name__ == "DropPath"]
    assert max(rates) == pytest.approx(0.4)
