"""DiT at the suite's size: built by diffusers, wired and initialised as in the paper."""

from collections.abc import Callable

from diffusers import DiTTransformer2DModel
from torch import nn


def _dit(channels: int, classes: int) -> nn.Module:
    model = DiTTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=32,
        in_channels=channels,
        num_layers=4,
        sample_size=16,
        patch_size=2,
        num_embeds_ada_norm=classes,
        norm_eps=1e-6,
    )
    _share_embedding(model)
    _initialize(model)
    return model


def _share_embedding(model: nn.Module) -> None:
    """One embedding of timestep and label for all blocks, as in the paper, without dropout.

    diffusers gives every block its own, and each drops labels by a draw of its own: with four
    blocks and the output layer, an image would lose its whole label once in 10^5, so that the
    unconditional model that guidance needs would go untrained. The table keeps its last row,
    ``classes``, for the dropped label; whoever trains the model drops it, once an image.
    """
    shared = model.transformer_blocks[0].norm1.emb
    shared.class_embedder.dropout_prob = 0.0
    for block in model.transformer_blocks:
        block.norm1.emb = shared


def _initialize(model: nn.Module) -> None:
    """The paper's start (arXiv 2212.09748, section 3.2 and its published code).

    Xavier-uniform linear layers, embeddings of std 0.02, and zeros for the modulation (adaLN)
    and the output: every block starts as the identity and the model predicts zero noise.
    diffusers leaves all of this at PyTorch's defaults.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight.detach().flatten(1))  # a patch: one input
            nn.init.zeros_(module.bias)
    embedding = model.transformer_blocks[0].norm1.emb
    nn.init.normal_(embedding.class_embedder.embedding_table.weight, std=0.02)
    nn.init.normal_(embedding.timestep_embedder.linear_1.weight, std=0.02)
    nn.init.normal_(embedding.timestep_embedder.linear_2.weight, std=0.02)
    modulations = [block.norm1.linear for block in model.transformer_blocks]
    for zeroed in [*modulations, model.proj_out_1, model.proj_out_2]:
        nn.init.zeros_(zeroed.weight)


# name -> (channels, classes) -> model of the noise in (B, channels, 16, 16) images; the label
# ``classes`` stands for none
MODELS: dict[str, Callable[[int, int], nn.Module]] = {"dit": _dit}
