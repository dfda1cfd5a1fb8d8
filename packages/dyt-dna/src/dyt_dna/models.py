"""Build a model by its name, for bases or for classes of sequences."""

from collections.abc import Mapping

from torch import Tensor, nn

from dyt_dna.bases import UNKNOWN
from dyt_dna.caduceus import Caduceus
from dyt_dna.catalog import ARCHITECTURES, STD
from dyt_dna.hyena import HyenaDNA

Backbone = HyenaDNA | Caduceus


def build(name: str, options: Mapping[str, float | str]) -> Backbone:
    """The language model called ``name``: tokens (B, L) -> logits (B, L, tokens).

    Args:
        options: of the training recipe; ``dropout`` is read here.
    """
    size = ARCHITECTURES[name]
    if size.family == "hyena":
        dropout = float(options.get("dropout", 0.0))
        return HyenaDNA(size.width, size.depth, size.length, dropout, size.std)
    return Caduceus(size.width, size.depth, "ps" if size.family == "caduceus-ps" else "ph")


class SequenceClassifier(nn.Module):
    """Tokens -> the logits of a sequence's class: the mean of a model's features, and a layer.

    Bases that are not known, padding among them, do not count in the mean. Of a model that reads
    both strands, the two logits are averaged, so that both strands are of one class.
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
