"""DiT at the suite's size: built by diffusers, wired and initialised as in the paper."""

from collections.abc import Callable
from typing import Any

from diffusers import DiTTransformer2DModel
from torch import nn

TOKENS = 8  # a side, whatever the size of the images


def _dit(channels: int, size: int, classes: int) -> nn.Module:
    model: Any = DiTTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=32,
        in_channels=channels,
        num_layers=4,
        sample_size=size,
        patch_size=size // TOKENS,
        num_embeds_ada_norm=classes,
        norm_eps=1e-6,
    )
    embedding = _share_embedding(model)
    _initialize(model, embedding)
    module: nn.Module = model
    return module


def _share_embedding(model: Any) -> Any:
    """One embedding of timestep and label for all blocks, as in the paper, without dropout.

    diffusers gives every block its own, and each use of one drops labels by a draw of its own.
    With four blocks and the output layer an image would lose its label everywhere once in 10^5
    times, and guidance needs just that case trained. So whoever trains the model drops labels,
    once an image; the table keeps its last row, ``classes``, for the dropped label.
    """
    shared = model.transformer_blocks[0].norm1.emb
    shared.class_embedder.dropout_prob = 0.0
    for block in model.transformer_blocks:
        block.norm1.emb = shared
    return shared


def _initialize(model: Any, embedding: Any) -> None:
    """The paper's start; diffusers leaves all of it at PyTorch's defaults.

    Linear layers are Xavier-uniform with zero bias, the embeddings normal of std 0.02. What
    modulates a block (adaLN) and the output layer are zero, so that each block starts as the
    identity and the model predicts no noise at all.

    Source: arXiv 2212.09748, sections 3.2 and 4, and the code published with it.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            # Flattened, because the patch convolution is a linear layer of a patch's pixels.
            nn.init.xavier_uniform_(module.weight.detach().flatten(1))
            nn.init.zeros_(module.bias)
    for embedder in (
        embedding.class_embedder.embedding_table,
        embedding.timestep_embedder.linear_1,
        embedding.timestep_embedder.linear_2,
    ):
        nn.init.normal_(embedder.weight, std=0.02)
    modulations = [block.norm1.linear for block in model.transformer_blocks]
    for linear in (*modulations, model.proj_out_1, model.proj_out_2):
        nn.init.zeros_(linear.weight)


# name -> (channels, size, classes) -> model of the noise in (B, channels, size, size) images
MODELS: dict[str, Callable[[int, int, int], nn.Module]] = {"dit": _dit}
