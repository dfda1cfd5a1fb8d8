"""Which parameters weight decay leaves alone."""

import pytest
import torch
from tests.dyt._surgery.models import IDS, new
from torch import nn

import dyt


def test_all_of_a_layer_and_the_factor_of_an_embedding():
    model = dyt.convert(new("llama"), "derf", recipe="calibrated")
    dyt.calibrate(model, [IDS], goal="start")
    found = dyt.no_decay(model)
    assert found == {
        name
        for name, _ in model.named_parameters()
        if "norm." in name or name == "model.embed_tokens.scale"
    }
    assert {"model.norm.alpha", "model.norm.shift", "model.norm.weight"} <= found


@pytest.mark.parametrize("to", ["layernorm", "rmsnorm"])
def test_norms_that_were_put_in(to):
    model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))
    assert dyt.no_decay(model) == set()
    dyt.convert(model, to)
    assert dyt.no_decay(model) == {n for n, _ in model.named_parameters() if n[0] == "1"}


def test_layers_that_were_built_in_and_shared_ones():
    layer = dyt.DynamicTanh(8, bias=False)
    model = nn.ModuleDict({"a": layer, "b": layer, "c": nn.Linear(8, 8)})
    assert dyt.no_decay(model) == {"a.weight", "a.alpha", "b.weight", "b.alpha"}
    assert dyt.no_decay(layer) == {"weight", "alpha"}


def test_an_optimizer_leaves_them_as_they_are():
    model = dyt.convert(nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)))
    kept = dyt.no_decay(model)
    before = {name: value.clone() for name, value in model.named_parameters()}
    groups = [
        {"params": [p for n, p in model.named_parameters() if n not in kept]},
        {"params": [p for n, p in model.named_parameters() if n in kept], "weight_decay": 0.0},
    ]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    torch.optim.AdamW(groups, lr=0.1, weight_decay=0.5).step()
    same = {name for name, value in model.named_parameters() if torch.equal(value, before[name])}
    assert same == kept


def test_the_trainer_of_transformers_decays_what_it_did_before_the_swap():
    from transformers import Trainer

    class MyTrainer(Trainer):  # as the README has it
        def __init__(self):
            """Only the names are asked for."""

        def get_decay_parameter_names(self, model):
            return sorted({*super().get_decay_parameter_names(model)} - dyt.no_decay(model))

    def decayed(model):  # the Trainer also names parameters that are None
        return {*MyTrainer().get_decay_parameter_names(model)} & {*dict(model.named_parameters())}

    for name in ("llama", "gpt2", "bert"):
        assert decayed(dyt.convert(new(name))) == decayed(new(name)) != set()
