"""The models by name, as language models or as classifiers of sequences."""

from collections.abc import Mapping

from torch import Tensor, nn

from dyt_dna.bases import UNKNOWN
from dyt_dna.models.caduceus import Caduceus
from dyt_dna.models.hyena import HyenaDNA
from dyt_dna.shapes import SHAPES, STD

Backbone = HyenaDNA | Caduceus


def build(name: str, options: Mapping[str, float | str]) -> Backbone:
    """The language model called ``name``: tokens (B, L) -> logits (B, L, tokens).

    Args:
        options: of the training preset; ``dropout`` is read.
    """
    shape = SHAPES[name]
    if shape.family == "hyena":
        dropout = float(options.get("dropout", 0.0))
        return HyenaDNA(shape.width, shape.depth, shape.length, dropout, shape.std)
    return Caduceus(shape.width, shape.depth, "ps" if shape.family == "caduceus-ps" else "ph")


class SequenceClassifier(nn.Module):
    """Tokens -> logits of the sequence's class: a linear layer on the mean of the features.

    Unknown bases, padding among them, do not count in the mean. If the model reads both strands,
    their logits are averaged, so both strands get the same class.
    """

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.score = nn.Linear(backbone.width, classes, bias=False)
        nn.init.normal_(self.score.weight, std=STD)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) int64 -> (B, classes)."""
        strands = [self.score(_mean(x, tokens)) for x in self.backbone.features(tokens)]
        logits: Tensor = sum(strands[1:], start=strands[0]) / len(strands)
        return logits


def _mean(hidden: Tensor, tokens: Tensor) -> Tensor:
    """(B, L, D) -> (B, D) over the known bases."""
    known = (tokens != UNKNOWN).unsqueeze(-1).to(hidden.dtype)
    return (hidden * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)
