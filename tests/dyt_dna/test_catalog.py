"""What is offered: sizes as published, presets that exist, files where they are looked for."""

from pathlib import Path

import pytest
import torch

from dyt_bench.plugin.domain import DataError
from dyt_dna import domain
from dyt_dna.data.files import LABELLED, SPECIES
from dyt_dna.models import build
from dyt_dna.shapes import SHAPES

PUBLISHED = {  # millions of parameters, in the papers' words
    "hyena-tiny-1k": "0.44",
    "hyena-small-32k": "3.3",
    "hyena-medium-160k": "6.6",
    "caduceus-ph-1k": "0.47",
    "caduceus-ps-1k": "0.47",
    "caduceus-ph-131k": "7.7",
    "caduceus-ps-131k": "7.7",
}


@pytest.mark.parametrize(("name", "millions"), PUBLISHED.items())
def test_large_models_have_the_published_size(name: str, millions: str) -> None:
    with torch.device("meta"):
        model = build(name)
    # Theirs have a vocabulary of 16, most of it letters that DNA has not.
    more = (16 - model.embedding.num_embeddings) * model.width
    count = sum(parameter.numel() for parameter in model.parameters()) + more
    decimals = len(millions.partition(".")[2])
    assert f"{count / 1e6:.{decimals}f}" == millions
    assert f"{millions} M parameters" in domain.models[name].summary


def test_every_model_has_a_shape_and_a_preset() -> None:
    assert list(SHAPES) == list(domain.models)
    assert {model.training for model in domain.models.values()} <= set(domain.trainings)
    assert set(domain.datasets) >= LABELLED


def test_the_suites_model_has_the_released_size() -> None:
    model = build("hyena")
    assert sum(parameter.numel() for parameter in model.parameters()) == 434_688


def test_data_sets_not_there_name_the_command_that_gets_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path))
    monkeypatch.setattr("dyt_dna.data.files.RAGOUT", "nowhere")
    with pytest.raises(DataError, match="dyt-bench data fetch dna/bacteria"):
        domain.datasets["bacteria"].files(None)
    for file in SPECIES.values():
        (tmp_path / "dna/bacteria" / file).parent.mkdir(parents=True)
        (tmp_path / "dna/bacteria" / file).touch()
    assert len(list(domain.datasets["bacteria"].files(None))) == len(SPECIES)
