"""Reference scores: a Markov chain over bases, and classification by GC content."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import nll_loss

from dyt_bench.plugin.markov import markov_nats
from dyt_bench.plugin.task import Task
from dyt_dna.bases import BASES, UNKNOWN
from dyt_dna.data.datamodule import GenomeData, LabelledData
from dyt_dna.data.labelled import Sequences
from dyt_dna.data.sequences import Stretch
from dyt_dna.shapes import SHAPES

# Orders of the chain that a model is compared with. For next bases, the best on the chloroplast;
# for masked ones the frequencies of bases, as a step has a fraction of the targets to learn from.
ORDER, MASKED_ORDER = 6, 0
COUNTED = 2**24  # bases of both strands, at most: more hardly change a chain of order 10
# Of the powers of four up to it, this gives the chloroplast the lowest loss at orders 4 to 8.
_WEIGHT = 256.0
_GC = [BASES.index("G"), BASES.index("C")]


def reference_score(task: Task, data: GenomeData | LabelledData) -> float:
    """`markov_loss` of a genome, the loss of `gc_content` of labelled sequences."""
    if isinstance(data, LabelledData):
        return gc_content(data)[0]
    return markov_loss(data, MASKED_ORDER if SHAPES[task.model].masked else ORDER)


def markov_loss(data: GenomeData, order: int) -> float:
    """Nats per base of `dyt_bench.plugin.markov.markov_nats` on the model's validation targets.

    The chain is counted on both strands of the training sequences. It predicts the bases that
    follow ``order`` known ones in the same window, so that it always sees its whole context.

    Raises:
        ValueError: ``order`` is negative, or more than 30, whose words exceed 63 bits.
    """
    count = len(data.val_windows)
    windows = torch.stack([data.val_windows[index].tokens for index in range(count)])
    targets, known = torch.zeros(windows.shape, dtype=torch.bool), windows != UNKNOWN
    targets[:, 1:] = torch.stack([data.val[index][1] for index in range(count)]) != UNKNOWN
    targets[:, :order] = False
    for back in range(1, order + 1):
        targets[:, back:] &= known[:, :-back]
    nats = markov_nats(
        [_negative_if_unknown(stretch.tokens) for stretch in _both_strands(data.split.train)],
        _negative_if_unknown(windows),
        vocabulary=UNKNOWN,
        order=order,
        weight=_WEIGHT,
        targets=targets.numpy(),
    )
    return nats / int(targets.sum())


def _negative_if_unknown(tokens: Tensor) -> NDArray[np.int8]:
    return np.where(tokens.numpy() == UNKNOWN, -1, tokens.numpy()).astype(np.int8)


def _both_strands(stretches: Sequence[Stretch]) -> list[Stretch]:
    """Both strands of the stretches, from the first one on, as much as is counted."""
    left, strands = COUNTED // 2, []
    for stretch in stretches:
        part = stretch[:left]
        strands += [part, part.reverse_complement()]
        left -= len(part)
    return strands


def gc_content(data: LabelledData) -> tuple[float, float]:
    """Loss (nats a sequence) and accuracy of predicting classes from their GC content alone.

    Bayes' rule, with each class's share of the training sequences as its prior, and a normal
    distribution of the share of G and C among the known bases that the model reads.
    """
    train, val = data.labelled.train, data.labelled.val
    counts = torch.bincount(train.classes, minlength=len(data.labelled.names)).double()
    content = _gc(train, data.length)
    chances = []
    for number, count in enumerate(counts):
        own = content[train.classes == number]
        spread = own.std(correction=0).clamp(min=1e-3)
        likely = _log_normal(_gc(val, data.length), own.mean(), spread)
        chances.append(likely + (count / counts.sum()).log())
    scores = torch.stack(chances, dim=1).log_softmax(dim=1)
    right = scores.argmax(dim=1) == val.classes
    return float(nll_loss(scores, val.classes)), float(right.double().mean())


def _log_normal(x: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    density: Tensor = torch.distributions.Normal(mean, spread).log_prob(x)  # type: ignore[no-untyped-call]  # torch's own
    return density


def _gc(sequences: Sequences, length: int) -> Tensor:
    """(sequences,) float64, the share of G and C among the known of the first ``length`` bases."""
    shares = []
    for index in range(len(sequences)):
        counts = torch.bincount(sequences[index][:length].int(), minlength=len(BASES))
        shares.append(counts[_GC].sum() / counts[:UNKNOWN].sum().clamp(min=1))
    return torch.stack(shares).double()
