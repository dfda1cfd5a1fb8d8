"""DiT by name: built by diffusers, wired and initialised as in the paper."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from diffusers import DiTTransformer2DModel
from torch import nn

_TOKENS = 8  # a side, at most, where a size leaves the patch to the images


@dataclass(frozen=True, kw_only=True)
class Size:
    """A DiT's dimensions: arXiv 2212.09748, table 1."""

    layers: int
    width: int
    heads: int
    patch: int | None = None  # pixels a side of a token; None: 2, or what makes 8 x 8 tokens

    def build(self, channels: int, size: int, classes: int) -> nn.Module:
        """The model of (B, channels, size, size) images, in the paper's start.

        It returns (B, 2 * channels, size, size): the noise, then how large the variance is.

        Raises:
            ValueError: the patch does not divide the images.
        """
        divisors = (p for p in range(min(2, size), size + 1) if size % p == 0)
        patch = self.patch or next(p for p in divisors if size // p <= _TOKENS)
        if size % patch:
            raise ValueError(f"size must be a multiple of the patch, {patch}, got {size}")
        model: Any = DiTTransformer2DModel(
            num_attention_heads=self.heads,
            attention_head_dim=self.width // self.heads,
            in_channels=channels,
            out_channels=2 * channels,
            num_layers=self.layers,
            sample_size=size,
            patch_size=patch,
            num_embeds_ada_norm=classes,
            norm_eps=1e-6,
        )
        _initialize(model, _share_embedding(model))
        module: nn.Module = model
        return module


def _share_embedding(model: Any) -> Any:
    """One embedding of timestep and label for all blocks, as in the paper, without dropout.

    diffusers gives every block its own, and each use of one drops labels by a draw of its own.
    With four blocks and the output layer an image would lose its label everywhere once in 10^5
    times, and guidance needs just that case trained. So the module that trains the model drops
    labels, once an image; the table keeps its last row, ``classes``, for the dropped label.
    """
    shared = model.transformer_blocks[0].norm1.emb
    shared.class_embedder.dropout_prob = 0.0
    # The paper divides the exponents of the timestep's frequencies by half their number, diffusers
    # by one less: with the same weights the output would differ by a tenth.
    shared.time_proj.downscale_freq_shift = 0
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
            if module.bias is not None:
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


ARCHITECTURES: Mapping[str, Size] = MappingProxyType(
    {
        "dit": Size(layers=4, width=64, heads=4),
        "dit-b4": Size(layers=12, width=768, heads=12, patch=4),
        "dit-l4": Size(layers=24, width=1024, heads=16, patch=4),
        "dit-xl2": Size(layers=28, width=1152, heads=16, patch=2),
    }
)
