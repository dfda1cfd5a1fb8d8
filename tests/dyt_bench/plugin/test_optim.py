"""Which parameters decay, against the rules of the published codes."""

from copy import deepcopy

import pytest
import torch
from torch import nn

import dyt
from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.muon import hidden_matrices
from dyt_bench.plugin.optim import adamw, configured, decaying, optimization
from dyt_bench.plugin.task import Task


class Positioned(nn.Module):
    """A model that names a matrix which does not decay, as timm's ViT does."""

    def __init__(self):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 3, 4))
        self.mark = nn.Parameter(torch.zeros(4, 4))
        self.mark._no_weight_decay = True
        self.embedding = nn.Embedding(5, 4)
        self.norm = nn.LayerNorm(4)
        self.rms = nn.RMSNorm(4)
        self.linear = nn.Linear(4, 2)

    def no_weight_decay(self):
        return {"pos_embed"}


EVERY = {
    "model.pos_embed",
    "model.mark",
    "model.embedding.weight",
    "model.norm.weight",
    "model.norm.bias",
    "model.rms.weight",
    "model.linear.weight",
    "model.linear.bias",
}
EXPECTED = {
    "matrices": {"model.mark", "model.embedding.weight", "model.linear.weight"},
    "all": EVERY,
    "not norms": {"model.pos_embed", "model.rms.weight", "model.linear.weight"},
}


@pytest.mark.parametrize("decays", EXPECTED)
def test_the_published_rules(decays):
    module = nn.ModuleDict({"model": Positioned()})
    chosen = decaying(module, decays)
    assert {name for name, p in module.named_parameters() if p in chosen} == EXPECTED[decays]


@pytest.mark.parametrize("decays", EXPECTED)
def test_the_optimizer_shrinks_what_decays_and_nothing_else(decays):
    module = nn.ModuleDict({"model": Positioned()})
    preset = TrainingPreset(summary="decay alone", weight_decay=0.5, decays=decays, warmup=0.0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(1.0).grad = torch.zeros_like(parameter)
    made = adamw(module, preset, learning_rate=0.1, steps=10)  # the schedule counts its steps
    made["optimizer"].step()
    shrunk = {name for name, p in module.named_parameters() if (p < 1).all()}
    assert shrunk == EXPECTED[decays]
    assert all((p == 1).all() for n, p in module.named_parameters() if n not in shrunk)


def test_layers_in_place_of_norms_decay_where_the_published_code_lets_them():
    model = dyt.convert(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), "dyt")
    rules = {
        "matrices": {"0.weight"},
        "all": {name for name, _ in model.named_parameters()},
        "not norms": {"0.weight", "1.weight", "1.alpha"},
    }
    for decays, expected in rules.items():
        chosen = decaying(model, decays)
        assert {name for name, p in model.named_parameters() if p in chosen} == expected


def test_the_positions_of_timm_s_vit_do_not_decay():
    from timm.models.vision_transformer import VisionTransformer

    vit = VisionTransformer(img_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=2)
    chosen = decaying(nn.ModuleDict({"model": vit}), "matrices")
    assert vit.pos_embed not in chosen
    assert vit.cls_token not in chosen
    assert vit.patch_embed.proj.weight in chosen


class Stack(nn.Module):
    """An embedding, two hidden layers, a norm and a head."""

    def __init__(self, *, tied=False):
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.first = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.second = nn.Linear(4, 4, bias=False)
        self.head = nn.Linear(4, 5, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(self.second(self.norm(self.first(self.embedding(tokens)))))


@pytest.mark.parametrize("tied", [False, True])
def test_muon_is_for_hidden_matrices(tied):
    module = Stack(tied=tied)
    chosen = hidden_matrices(module)
    assert {name for name, p in module.named_parameters() if p in chosen} == {
        "first.weight",
        "second.weight",
    }


def muon(module, steps=4):
    preset = TrainingPreset(summary="muon", weight_decay=0.1, warmup=0.0, schedule="linear")
    task = Task(
        domain="d",
        model="m",
        dataset="s",
        steps=steps,
        batch_size=2,
        learning_rate=0.1,
        val_every=steps,
        optimizer="muon",
    )
    return configured(module, **optimization(task, preset))


def made_rate(step, steps=4):
    """One step of warm-up at the least, then a line to 0."""
    return 0.1 if step == 0 else 0.1 * (1 - (step - 1) / (steps - 1))


def stepped(module, made, tokens):
    made["optimizer"].zero_grad()
    module(tokens).logsumexp(-1).mean().backward()
    made["optimizer"].step()
    made["lr_scheduler"]["scheduler"].step()


def test_each_parameter_moves_as_its_own_optimizer_moves_it():
    """Against both optimisers of PyTorch, apart, at the rates of the schedule."""
    torch.manual_seed(0)
    module, other = Stack(), Stack()
    other.load_state_dict(module.state_dict())
    tokens = torch.tensor([[0, 1, 2], [3, 4, 0]])
    made = muon(module)
    hidden = [other.first.weight, other.second.weight]
    matrices = [other.embedding.weight, other.head.weight]
    vectors = [other.first.bias, other.norm.weight, other.norm.bias]
    parts = [
        torch.optim.Muon(hidden, lr=0.1, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}],
            lr=0.1,
            betas=(0.9, 0.95),
            weight_decay=0.1,
        ),
    ]
    for step in range(3):
        stepped(module, made, tokens)
        for part in parts:
            part.zero_grad()
            for group in part.param_groups:
                group["lr"] = made_rate(step)
        other(tokens).logsumexp(-1).mean().backward()
        for part in parts:
            part.step()
    for own, wanted in zip(module.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(own, wanted)


def test_the_states_of_both_come_back():
    torch.manual_seed(0)
    module = Stack()
    tokens = torch.tensor([[0, 1, 2], [3, 4, 0]])
    made = muon(module)
    stepped(module, made, tokens)
    again = Stack()
    again.load_state_dict(module.state_dict())
    remade = muon(again)
    remade["optimizer"].load_state_dict(deepcopy(made["optimizer"].state_dict()))
    remade["lr_scheduler"]["scheduler"].load_state_dict(
        made["lr_scheduler"]["scheduler"].state_dict()
    )
    for which in ((module, made), (again, remade)):
        stepped(*which, tokens)
    for own, wanted in zip(again.parameters(), module.parameters(), strict=True):
        assert torch.equal(own, wanted)


@pytest.mark.parametrize(
    ("precision", "clip_norm", "fused"),
    [
        ("32-true", 1.0, True),
        ("bf16-true", 1.0, True),
        ("bf16-mixed", None, True),
        ("bf16-mixed", 1.0, False),  # Lightning refuses to clip
        ("16-mixed", None, False),  # or to scale the loss
    ],
)
def test_one_call_steps_all_where_lightning_lets_it(precision, clip_norm, fused):
    preset = TrainingPreset(summary="", precision=precision, clip_norm=clip_norm)
    made = adamw(nn.Linear(2, 2), preset, learning_rate=1.0, steps=1)["optimizer"]
    assert made.defaults["fused"] is fused
