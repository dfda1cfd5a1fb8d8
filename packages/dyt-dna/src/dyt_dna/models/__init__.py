"""The models by name, as language models or as classifiers of sequences."""

from collections.abc import Iterator

from torch import Tensor, nn

from dyt_bench.plugin.domain import entry
from dyt_dna.bases import UNKNOWN
from dyt_dna.models.caduceus import Caduceus
from dyt_dna.models.hyena import HyenaDNA, ImplicitFilter
from dyt_dna.shapes import SHAPES, STD

Backbone = HyenaDNA | Caduceus


def build(name: str, dropout: float = 0.0) -> Backbone:
    """The language model called ``name``: tokens (B, L) -> logits (B, L, tokens).

    Args:
        dropout: share of the embedding's channels dropped in training; of HyenaDNA alone.

    Raises:
        UserError: no model has that name.
    """
    shape = entry(SHAPES, name, "model")
    if shape.family == "hyena":
        return HyenaDNA(shape.width, shape.depth, shape.length, dropout, shape.std)
    return Caduceus(shape.width, shape.depth, "ps" if shape.family == "caduceus-ps" else "ph")


def filter_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """Parameters of the MLPs in HyenaDNA's filters; other models have none."""
    for module in model.modules():
        if isinstance(module, ImplicitFilter):
            yield from module.parameters()


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
