"""Reference scores of fine-tuning: the majority class, and words of bases without pretraining."""

from collections.abc import Sequence

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dyt_bench.plugin.domain import Reference, Role
from dyt_dna.data.datamodule import LabelledData
from dyt_dna.kmers import kmers

_BY_WORDS: Sequence[tuple[int, Role]] = ((2, "modest"), (4, "strong"))  # letters of a word
_PENALTY = 0.1  # scikit-learn's C, and the iterations, as in `dyt_dna.kmers.kmer_loss`
_ITERATIONS = 300


def references(data: LabelledData) -> list[Reference]:
    """Accuracies on the validation sequences, fitted to all training sequences."""
    return [
        Reference("the class most frequent in training", majority(data), "blind"),
        *(
            Reference(f"logistic regression of words of {k} bases", kmer_accuracy(data, k), role)
            for k, role in _BY_WORDS
        ),
    ]


def majority(data: LabelledData) -> float:
    """Share of the validation sequences in the class that is most frequent in training."""
    train, val = data.labelled.train.classes, data.labelled.val.classes
    return float((val == torch.bincount(train).argmax()).float().mean())


def kmer_accuracy(data: LabelledData, k: int) -> float:
    """Of the classifier of `dyt_dna.kmers.kmer_loss`."""
    train, val = data.labelled.train, data.labelled.val
    fitted = make_pipeline(
        StandardScaler(), LogisticRegression(C=_PENALTY, max_iter=_ITERATIONS)
    ).fit(kmers(train, k, data.length), train.classes.numpy())
    return float(fitted.score(kmers(val, k, data.length), val.classes.numpy()))
