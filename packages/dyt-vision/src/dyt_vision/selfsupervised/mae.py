"""MAE: a ViT that sees a quarter of the patches, and a decoder that paints the others."""

from collections.abc import Sequence

import torch
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Generator, Tensor, nn

from dyt_bench.plugin.noise import drawn


def patches(images: Tensor, size: int) -> Tensor:
    """(B, C, S, S) -> (B, N, size * size * C), row by row, as the autoencoder reads them."""
    cut = images.unfold(2, size, size).unfold(3, size, size)  # (B, C, H, W, size, size)
    return cut.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)


class MaskedAutoencoder(nn.Module):
    """MAE (arXiv 2111.06377): the encoder sees a quarter of the patches, a decoder paints the rest.

    The loss is the mean square error of the hidden patches, each normalized by its own mean and
    standard deviation. Positions are sines and cosines and are not learned. As a classifier it is
    the encoder on all patches, with a linear layer on the mean of its outputs.

    Args:
        encoder: with a class token, and a norm before pooling.
        width, depth, heads: of the decoder.
        mask_rate: share of the patches that are hidden.
    """

    def __init__(
        self,
        encoder: VisionTransformer,
        width: int,
        depth: int,
        heads: int,
        mask_rate: float = 0.75,
    ) -> None:
        super().__init__()
        self.encoder, self.mask_rate = encoder, mask_rate
        side, channels = encoder.patch_embed.grid_size, encoder.patch_embed.proj.in_channels
        self.patch = encoder.patch_embed.patch_size[0]
        encoder.pos_embed = nn.Parameter(_positions(side, encoder.embed_dim), requires_grad=False)
        self.pos_embed = nn.Parameter(_positions(side, width), requires_grad=False)
        self.embed = nn.Linear(encoder.embed_dim, width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.decoder = nn.Sequential(*(Block(width, heads, qkv_bias=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.predict = nn.Linear(width, self.patch**2 * channels)
        for part in (self.embed, self.decoder, self.predict):
            part.apply(_start)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, S, S) -> logits (B, classes)."""
        logits: Tensor = self.encoder(images)
        return logits

    def encoded(self, images: Tensor, shown: Tensor) -> Tensor:
        """The class token and the ``shown`` (B, M) patches of each image -> (B, 1 + M, D)."""
        encoder = self.encoder
        places, token = encoder.pos_embed, encoder.cls_token
        assert places is not None
        assert token is not None
        seen = encoder.patch_embed(images) + places[:, 1:]
        seen = seen.gather(1, shown.unsqueeze(-1).expand(-1, -1, seen.shape[-1]))
        first = (token + places[:, :1]).expand(len(images), -1, -1)
        hidden: Tensor = encoder.norm(encoder.blocks(torch.cat([first, seen], dim=1)))
        return hidden

    def painted(self, hidden: Tensor, order: Tensor) -> Tensor:
        """What the decoder makes of `encoded` -> (B, N, values of a patch).

        Args:
            order: (B, N) the patches, those that were shown first.
        """
        hidden = self.embed(hidden)
        first, seen = hidden[:, :1], hidden[:, 1:]
        count, width = order.shape[1], hidden.shape[-1]
        missing = self.mask_token.expand(len(hidden), count - seen.shape[1], -1)
        tokens = torch.cat([seen, missing.to(seen.dtype)], dim=1)
        back = order.argsort(dim=1).unsqueeze(-1).expand(-1, -1, width)
        tokens = torch.cat([first, tokens.gather(1, back)], dim=1) + self.pos_embed
        found: Tensor = self.predict(self.norm(self.decoder(tokens)))
        return found[:, 1:]

    def objective(self, images: Tensor, by: Sequence[Generator], *, attached: bool) -> Tensor:
        """Mean square error of the hidden patches; masks are drawn from ``by``."""
        target = patches(images, self.patch)
        count = target.shape[1]
        order = drawn(by, lambda g: torch.rand(count, generator=g), images.device).argsort(dim=1)
        shown = order[:, : count - round(self.mask_rate * count)]
        found = self.painted(self.encoded(images, shown), order)
        target = (target - target.mean(-1, keepdim=True)) / (
            target.var(-1, keepdim=True) + 1e-6
        ).sqrt()
        hidden = torch.ones_like(target[..., 0]).scatter(1, shown, 0)
        losses = (found - target).square().mean(-1)
        return (losses * hidden).sum() / hidden.sum()


def _positions(side: tuple[int, int], width: int) -> Tensor:
    """(1, 1 + N, D): zeros for the class token, then sines and cosines of row and column."""
    places = build_sincos2d_pos_embed(list(side), dim=width, interleave_sin_cos=False)
    return torch.cat([torch.zeros(1, width), places.float()]).unsqueeze(0)


def _start(module: nn.Module) -> None:
    """Xavier-uniform weights, as MAE; biases start at zero."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
