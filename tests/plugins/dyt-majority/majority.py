"""A model and a data set as they were before anybody thought of comparing variants."""

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

LETTERS, LENGTH = 4, 12


class Classifier(nn.Module):
    """Letters (B, LENGTH) int64 -> logits (B, LETTERS) of which occurs most often."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(LETTERS, width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2)
        self.head = nn.Linear(width, LETTERS)

    def forward(self, letters: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(self.embedding(letters)).mean(1))
        return logits


def sequences(count: int, seed: int) -> TensorDataset:
    """Random letters and which occurs most often; of equals, the first."""
    letters = torch.randint(LETTERS, (count, LENGTH), generator=torch.Generator().manual_seed(seed))
    counts = torch.stack([(letters == letter).sum(1) for letter in range(LETTERS)], dim=1)
    return TensorDataset(letters, counts.argmax(1))
