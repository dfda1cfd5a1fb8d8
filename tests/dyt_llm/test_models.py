"""The models by name: sizes as published, causal, every norm swapped."""

import pytest
import torch

import dyt
from dyt_llm import domain
from dyt_llm.models import build
from dyt_llm.shapes import SHAPES

SMALL = [name for name, shape in SHAPES.items() if shape.width < 512]
# name -> (vocabulary of its tokenizer, parameters as published)
PUBLISHED = {
    "llama-7b": (32_000, 6.74e9),
    "llama-13b": (32_000, 13.02e9),
    "llama-34b": (32_000, 33.7e9),
    "llama-70b": (32_000, 69.0e9),
    "mistral-7b": (32_000, 7.24e9),
    "ernie-0.3b": (103_424, 0.36e9),
    "gpt2-124m": (50_257, 124.4e6),
}


def test_every_model_has_a_shape_and_a_preset() -> None:
    assert set(domain.models) == set(SHAPES)
    assert next(iter(domain.models)) == "llama"
    for name, model in domain.models.items():
        assert model.training in domain.trainings
        assert f"{SHAPES[name].context:,} tokens of context" in model.summary


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_large_ones_have_the_published_size_and_norms(name: str) -> None:
    vocabulary, parameters = PUBLISHED[name]
    with torch.device("meta"):
        model = build(name, vocabulary)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == pytest.approx(parameters, rel=0.005)
    assert len(dyt.select(model)) == 2 * SHAPES[name].layers + 1


def test_large_and_small_are_all_there_is() -> None:
    assert {*SMALL, *PUBLISHED} == set(SHAPES)


@pytest.mark.parametrize("name", SMALL)
def test_no_token_sees_a_later_one(name: str) -> None:
    model = build(name, 256).eval()
    tokens = torch.randint(256, (2, 128))
    changed = tokens.clone()
    changed[:, 100] = (tokens[:, 100] + 1) % 256
    with torch.no_grad():
        before, after = model(input_ids=tokens).logits, model(input_ids=changed).logits
    assert before.shape == (2, 128, 256)
    torch.testing.assert_close(before[:, :100], after[:, :100])
    assert not torch.allclose(before[:, 100:], after[:, 100:])


@pytest.mark.parametrize("name", SMALL)
def test_the_swap_takes_the_nine_norms_of_the_paper(name: str) -> None:
    model = build(name, 256)
    sites = [site.name for site in dyt.select(model)]
    dyt.convert(model, "dyt")
    swapped = [name for name, module in model.named_modules() if hasattr(module, "alpha")]
    assert len(sites) == 9
    assert sorted(swapped) == sorted(sites)
    assert not dyt.audit(model)
    affine = domain.models[name].native_norm == "LayerNorm"
    biases = [getattr(model.get_submodule(name), "bias", None) is not None for name in swapped]
    assert biases == [affine] * 9  # an RMSNorm has none, and what stands for it has none
