"""The models by name: one transformer, pooled for a property or causal for the next token."""

import torch
from torch import Tensor, nn

from dyt_molecules.data.tokens import LONGEST, PAD

WIDTH, LAYERS, HEADS = 64, 3, 4


class Transformer(nn.Module):
    """Pre-norm transformer with learned positions: tokens (B, T) int64 -> features (B, T, WIDTH).

    No position attends to ``PAD`` or, if ``causal``, to later positions.
    """

    def __init__(self, vocabulary: int, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.tokens = nn.Embedding(vocabulary, WIDTH, padding_idx=PAD)
        self.positions = nn.Embedding(LONGEST + 2, WIDTH)  # START and END, too
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                WIDTH,
                HEADS,
                4 * WIDTH,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(LAYERS)
        )
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) int64 -> (B, T, WIDTH)."""
        length = tokens.shape[1]
        x = self.tokens(tokens) + self.positions.weight[:length]
        ahead = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)
        for layer in self.layers:
            x = layer(x, ahead if self.causal else None, tokens == PAD)
        features: Tensor = self.norm(x)
        return features


class Regressor(nn.Module):
    """A property from the mean of the features, padding left out."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.transformer = Transformer(vocabulary, causal=False)
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) int64 -> (B,)."""
        there = (tokens != PAD).unsqueeze(-1)
        features = self.transformer(tokens).masked_fill(~there, 0.0)
        pooled = features.sum(1) / there.sum(1)
        value: Tensor = self.head(pooled).squeeze(-1)
        return value


class Decoder(nn.Module):
    """Logits of the token after each."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.transformer = Transformer(vocabulary, causal=True)
        self.head = nn.Linear(WIDTH, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) int64 -> (B, T, vocabulary)."""
        logits: Tensor = self.head(self.transformer(tokens))
        return logits


def build(name: str, vocabulary: int) -> nn.Module:
    """The model called ``name`` in the catalog, for a vocabulary of this size."""
    return Regressor(vocabulary) if name == "encoder" else Decoder(vocabulary)
