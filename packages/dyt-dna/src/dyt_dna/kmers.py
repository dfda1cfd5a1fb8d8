"""Logistic regression of the words of k bases in a sequence, as a reference score."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dyt_dna.bases import UNKNOWN, reverse_complement
from dyt_dna.data.datamodule import LabelledData
from dyt_dna.data.labelled import Sequences

_PENALTY = 0.1  # scikit-learn's C
_ITERATIONS = 300


def kmer_loss(data: LabelledData, k: int) -> float:
    """Cross-entropy (nats a sequence) on the validation sequences, of both strands' words.

    Args:
        k: letters of a word.
    """
    train, val = data.labelled.train, data.labelled.val
    fitted = make_pipeline(
        StandardScaler(), LogisticRegression(C=_PENALTY, max_iter=_ITERATIONS)
    ).fit(kmers(train, k, data.length), train.classes.numpy())
    chances = fitted.predict_proba(kmers(val, k, data.length))
    return float(log_loss(val.classes.numpy(), chances, labels=fitted.classes_))


def kmers(sequences: Sequences, k: int, length: int) -> NDArray[np.float64]:
    """(sequences, 4^k): how often each word occurs on both strands, a share of all words.

    Words with an unknown base do not count.

    Args:
        length: the bases of each that are read.
    """
    found = np.zeros((len(sequences), UNKNOWN**k))
    for index in range(len(sequences)):
        tokens = sequences[index][:length].long()
        for strand in (tokens, reverse_complement(tokens)):
            bases = strand.numpy()
            if len(bases) >= k:
                words = sliding_window_view(bases, k)
                words = words[(words != UNKNOWN).all(1)]
                numbers = words @ UNKNOWN ** np.arange(k)[::-1]
                found[index] += np.bincount(numbers, minlength=UNKNOWN**k)
    shares: NDArray[np.float64] = found / found.sum(1, keepdims=True).clip(min=1)
    return shares
