"""DiT: its shapes, its sizes, and the start the paper gives it."""

import pytest
import torch
from torch import nn

from dyt_diffusion import domain
from dyt_diffusion.models import ARCHITECTURES


@pytest.fixture
def dit():
    torch.manual_seed(0)
    return ARCHITECTURES["dit"].build(1, 8, 10)


def arguments(channels=1, size=8, batch=4):
    return torch.randn(batch, channels, size, size), torch.arange(batch), torch.arange(batch)


@pytest.mark.parametrize(
    ("channels", "size", "classes", "tokens"),
    [(1, 8, 10, 16), (3, 16, 4, 64), (1, 28, 10, 49), (3, 32, 4, 64), (4, 32, 1000, 64)],
)
def test_any_channels_size_and_classes(channels, size, classes, tokens):
    model = ARCHITECTURES["dit"].build(channels, size, classes)
    images, timesteps, labels = arguments(channels, size)
    entered = []
    model.transformer_blocks[0].register_forward_pre_hook(lambda _, args: entered.append(args[0]))
    with_variance = (4, 2 * channels, size, size)
    assert model(images, timesteps, labels).sample.shape == with_variance
    assert entered[0].shape == (4, tokens, 64)
    nothing = torch.full_like(labels, classes)  # the label that stands for none
    assert model(images, timesteps, nothing).sample.shape == with_variance


def test_every_model_has_a_size():
    assert domain.models.keys() == ARCHITECTURES.keys()


# arXiv 2212.09748, table 4: millions of parameters, ImageNet's classes, latents of 32 x 32 x 4.
@pytest.mark.parametrize(
    ("name", "millions", "tokens"),
    [("dit-b4", 130, 64), ("dit-l4", 458, 64), ("dit-xl2", 675, 256)],
)
def test_the_large_ones_have_the_paper_s_size(name, millions, tokens):
    with torch.device("meta"):
        model = ARCHITECTURES[name].build(4, 32, 1000)
        output = model(torch.empty(1, 4, 32, 32), torch.empty(1).long(), torch.empty(1).long())
    assert output.sample.shape == (1, 8, 32, 32)
    assert model.pos_embed.pos_embed.shape[1] == tokens
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count / 1e6 == pytest.approx(millions, rel=0.005)


def test_a_patch_that_does_not_divide_the_images_is_named():
    with pytest.raises(ValueError, match="a multiple of the patch, 4, got 30"):
        ARCHITECTURES["dit-b4"].build(3, 30, 10)


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
