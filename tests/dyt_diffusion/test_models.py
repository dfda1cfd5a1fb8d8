"""DiT: its shapes, and the start the paper gives it."""

import pytest
import torch
from torch import nn

from dyt_diffusion.models import MODELS


@pytest.fixture
def dit():
    torch.manual_seed(0)
    return MODELS["dit"](1, 8, 10)


def arguments(channels=1, size=8, batch=4):
    return torch.randn(batch, channels, size, size), torch.arange(batch), torch.arange(batch)


@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 8, 10), (3, 16, 4), (3, 32, 4)])
def test_any_channels_size_and_classes(channels, size, classes):
    model = MODELS["dit"](channels, size, classes)
    images, timesteps, labels = arguments(channels, size)
    tokens = []
    model.transformer_blocks[0].register_forward_pre_hook(lambda _, args: tokens.append(args[0]))
    assert model(images, timesteps, labels).sample.shape == images.shape
    assert tokens[0].shape == (4, 64, 128)
    nothing = torch.full_like(labels, classes)  # the label that stands for none
    assert model(images, timesteps, nothing).sample.shape == images.shape


def test_it_starts_as_the_identity_and_predicts_zero(dit):
    seen = []

    def remember(block, entered, left):
        seen.append((entered[0], left))

    for block in dit.transformer_blocks:
        block.register_forward_hook(remember)
    assert not dit(*arguments()).sample.any()
    assert len(seen) == 4
    assert all(torch.equal(entered, left) for entered, left in seen)


def test_linear_layers_start_xavier_uniform_and_embeddings_small(dit):
    def bound(weight):
        return (6 / sum(weight.flatten(1).shape)) ** 0.5

    block = dit.transformer_blocks[2]
    for weight in (dit.pos_embed.proj.weight, block.attn1.to_q.weight, block.ff.net[2].weight):
        assert weight.abs().max().item() == pytest.approx(bound(weight), rel=0.02)
    embedding = block.norm1.emb
    for part in (embedding.class_embedder.embedding_table, embedding.timestep_embedder.linear_2):
        assert part.weight.std().item() == pytest.approx(0.02, rel=0.1)
    biases = [module.bias for module in dit.modules() if isinstance(module, nn.Linear)]
    assert not any(bias.any() for bias in biases)


def test_the_blocks_share_one_embedding(dit):
    assert len({id(block.norm1.emb) for block in dit.transformer_blocks}) == 1


def test_the_model_itself_draws_no_random_numbers(dit):
    nn.init.normal_(dit.proj_out_2.weight)  # so that the label has a say
    nn.init.normal_(dit.proj_out_1.weight)
    given = arguments()
    before = torch.get_rng_state()
    trained = dit.train()(*given).sample
    assert torch.equal(trained, dit.eval()(*given).sample)
    assert torch.equal(torch.get_rng_state(), before)
