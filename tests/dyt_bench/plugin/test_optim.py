"""Which parameters decay, against the rules of the published codes."""

import pytest
import torch
from torch import nn

import dyt
from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.optim import adamw, decaying


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
