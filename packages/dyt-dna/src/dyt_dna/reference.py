"""Reference scores: Markov chains over bases, and simple classifiers of sequences."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import nll_loss

from dyt_bench.plugin.domain import Reference, Role
from dyt_bench.plugin.markov import markov_nats
from dyt_bench.plugin.task import Task
from dyt_dna.bases import BASES, UNKNOWN
from dyt_dna.data.datamodule import GenomeData, LabelledData
from dyt_dna.data.labelled import Sequences
from dyt_dna.data.sequences import Stretch
from dyt_dna.kmers import kmer_loss
from dyt_dna.shapes import SHAPES

MODEST, ORDER = 2, 6  # of chains over next bases; 6 is the best on the chloroplast
SHORT, LONG = 2, 4  # letters of the words that sequences are classified by
COUNTED = 2**24  # bases of both strands, at most: more hardly change a chain of order 10
# Of the powers of four up to it, this gives the chloroplast the lowest loss at orders 4 to 8.
_WEIGHT = 256.0
_GC = [BASES.index("G"), BASES.index("C")]


def references(task: Task, data: GenomeData | LabelledData) -> list[Reference]:
    """Validation losses: of classes, by their frequencies and by words; of bases, by chains.

    Masked bases are compared with the frequencies of bases alone.
    """
    if isinstance(data, LabelledData):
        return [
            Reference("frequencies of the classes", class_frequencies(data), "blind"),
            *(
                Reference(f"logistic regression of words of {k} bases", kmer_loss(data, k), role)
                for k, role in _BY_WORDS
            ),
        ]
    blind = Reference("frequencies of bases", markov_loss(data, 0), "blind")
    if SHAPES[task.model].masked:
        return [blind]
    return [
        blind,
        Reference(f"a Markov chain of order {MODEST}", markov_loss(data, MODEST), "modest"),
        Reference(f"a Markov chain of order {ORDER}", markov_loss(data, ORDER), "strong"),
    ]


_BY_WORDS: tuple[tuple[int, Role], ...] = ((SHORT, "modest"), (LONG, "strong"))


def class_frequencies(data: LabelledData) -> float:
    """Loss (nats a sequence) of the classes' shares in training, whatever the sequence."""
    train, val = data.labelled.train.classes, data.labelled.val.classes
    shares = torch.bincount(train, minlength=len(data.labelled.names)).double() / len(train)
    return float(-shares.log()[val].mean())


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
