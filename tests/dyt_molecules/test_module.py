"""The models: padding changes nothing, and the decoder looks back only."""

from dataclasses import replace

import pytest
import torch

from dyt_bench.plugin.task import Task
from dyt_molecules import properties, smiles
from dyt_molecules.data.tokens import PAD
from dyt_molecules.evaluation import errors
from dyt_molecules.models import Regressor, Transformer
from dyt_molecules.reference import rmse_of_mean

TASK = Task(
    domain="smiles",
    model="decoder",
    dataset="nci",
    steps=20,
    batch_size=16,
    learning_rate=1e-3,
    val_every=20,
    train_samples=200,
)


@pytest.fixture(scope="module")
def data():
    return smiles.build_data(TASK)


def test_padding_changes_nothing():
    model = Regressor(10).train()
    tokens = torch.randint(1, 10, (3, 7))
    padded = torch.cat([tokens, torch.full((3, 4), PAD)], dim=1)
    torch.testing.assert_close(model(tokens), model(padded))


def test_the_decoder_looks_back_only():
    model = Transformer(10, causal=True).train()
    tokens = torch.randint(1, 10, (2, 8))
    changed = tokens.clone()
    changed[:, 5:] = 1
    torch.testing.assert_close(model(tokens)[:, :5], model(changed)[:, :5])


def test_a_loss_is_of_tokens_and_padding_is_none(data):
    module = smiles.build_module(TASK, data)
    batch = next(iter(data.val_dataloader()))
    tokens, values = batch
    wider = torch.cat([tokens, torch.full((len(tokens), 3), PAD)], dim=1)
    torch.testing.assert_close(module.loss(batch), module.loss((wider, values)))


def test_errors_are_in_the_propertys_unit(data):
    module = properties.build_module(replace(TASK, model="encoder"), data)
    with torch.no_grad():
        module.model.head.weight.zero_()
        module.model.head.bias.zero_()
    found = errors(module, data)
    assert found["rmse"] == pytest.approx(data.scale * rmse_of_mean(data), rel=1e-5)
    assert 0 < found["mae"] < found["rmse"]


@pytest.mark.parametrize("domain", [properties, smiles], ids=lambda domain: domain.name)
def test_every_norm_is_there_to_be_swapped(domain, data):
    import dyt

    task = replace(TASK, model=next(iter(domain.models)))
    module = domain.build_module(task, data)
    assert len(dyt.select(module)) == 7
