"""The objective of wav2vec 2.0: masks, negatives, contrastive loss, Gumbel temperature.

Source: Baevski et al. 2020, section 3.2 and appendix B (arXiv 2006.11477).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy, normalize

MASK_SHARE = 0.65  # of the frames if no spans overlapped; as they do, about half are masked
CONTRAST_TEMPERATURE = 0.1


@dataclass(frozen=True)
class Contrast:
    """Results of `contrast`, each a mean over the masked frames."""

    loss: Tensor  # nats
    chance: Tensor  # nats: the loss of a blind guess among the codes that differ
    accuracy: Tensor  # share whose own code ranks first


def contrast(predicted: Tensor, codes: Tensor, mask: Tensor, negatives: Tensor) -> Contrast:
    """Cross-entropy of each masked frame's own code among those of its negatives.

    loss = −log(exp(cos(p, q) / 0.1) / Σ exp(cos(p, q') / 0.1)), the sum over the frame's own code
    q and the negatives whose code differs from it. In a collapsed codebook few do, and the loss
    falls without any learning; ``chance`` falls with it.

    Computed in float32 from the similarities of all pairs of frames in a row. Forward and backward
    of 15.6 s with 100 negatives took 27 ms on one core; gathering the negatives' vectors, as
    transformers does, took 1,749 ms.

    Args:
        predicted: (B, T, D).
        codes: (B, T, D), quantized and projected.
        mask: (B, T), boolean.
        negatives: (B, T, K), frames of the same row.
    """
    with torch.autocast(predicted.device.type, enabled=False):
        predicted, codes = predicted.float(), codes.float()
        pairs = normalize(predicted, dim=-1) @ normalize(codes, dim=-1).mT  # (B, T, T)
        own = pairs.diagonal(dim1=1, dim2=2).unsqueeze(2)
        others = pairs.gather(2, negatives)
        same = _fingerprints(codes).gather(2, negatives) == 0
        rivals = others.masked_fill(same, -torch.inf)
        logits = torch.cat([own, rivals], 2)[mask] / CONTRAST_TEMPERATURE  # (masked, 1 + K)
        target = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
        return Contrast(
            loss=cross_entropy(logits, target),
            chance=(~same[mask]).sum(1).add(1.0).log().mean(),
            accuracy=(logits[:, 0] > logits[:, 1:].amax(1)).float().mean(),
        )


def _fingerprints(codes: Tensor) -> Tensor:
    """(B, T, D) -> (B, T, T) float64, zero where two frames of a row have the same code."""
    weights = torch.linspace(1, 2, codes.shape[-1], dtype=torch.float64, device=codes.device)
    sums = (codes.detach().double() * weights).sum(-1)  # equal for equal vectors, and only those
    return sums.unsqueeze(2) - sums.unsqueeze(1)


def span_mask(batch: int, frames: int, length: int, generator: Generator | None = None) -> Tensor:
    """Boolean (batch, frames): spans of ``length`` starting anywhere, equally many in each row."""
    return _spans(torch.rand(batch, frames - length + 1, generator=generator), length)


def masked_frames(frames: int, length: int, by: Sequence[Generator]) -> int:
    """How many frames the masks have that each of ``by`` draws by `span_mask` for a row."""
    ranks = [torch.rand(1, frames - length + 1, generator=generator) for generator in by]
    return int(_spans(torch.cat(ranks), length).sum())


def _spans(ranks: Tensor, length: int) -> Tensor:
    """Ranks of the places where a span may start (B, places) -> boolean (B, frames)."""
    frames = ranks.shape[1] + length - 1
    spans = max(1, round(MASK_SHARE * frames / length))
    starts = ranks.argsort(1)[:, :spans, None]
    covered = (starts + torch.arange(length)).flatten(1)
    return torch.zeros(len(ranks), frames, dtype=torch.bool).scatter_(1, covered, True)


def sample_negatives(mask: Tensor, count: int, generator: Generator | None = None) -> Tensor:
    """For each frame ``count`` other masked frames of its row, drawn with replacement.

    Mask (B, T) -> indices (B, T, count) of frames, meaningful where the frame itself is masked. A
    row must have at least two masked frames.
    """
    masked = mask.argsort(dim=1, descending=True, stable=True)  # a row's masked frames come first
    others = mask.sum(1).view(-1, 1, 1) - 1  # how many a frame has
    drawn = (torch.rand(*mask.shape, count, generator=generator) * others).long()
    drawn = drawn.minimum(others - 1)  # float32 may round up to the limit
    itself = mask.cumsum(1).sub(1).unsqueeze(2)
    drawn += drawn >= itself
    return masked.gather(1, drawn.flatten(1)).view_as(drawn)


def gumbel_temperature(progress: float, *, updates: int, floor: float) -> float:
    """2 · 0.999995^(progress · updates), at least ``floor``.

    A budget of a few hundred steps follows the same curve as the paper's ``updates``.

    Args:
        progress: share of the training that is done, 0 to 1.
    """
    return max(floor, 2 * exp(updates * progress * log(0.999995)))
