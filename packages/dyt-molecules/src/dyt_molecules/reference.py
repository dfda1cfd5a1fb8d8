"""Reference scores: the mean of the training set, and the frequencies of its tokens."""

import numpy as np
import torch

from dyt_molecules.data.datamodule import MoleculeData
from dyt_molecules.data.tokens import START


def rmse_of_mean(data: MoleculeData) -> float:
    """Error on the validation set, in training standard deviations, of predicting the mean."""
    return float(np.sqrt(np.mean([value**2 for _, value in data.samples[1]])))


def unigram_loss(data: MoleculeData) -> float:
    """Nats per validation token, predicted by the training set's frequencies, plus one each."""
    seen, asked = (
        torch.bincount(
            torch.tensor([t for tokens, _ in side for t in tokens if t != START]),
            minlength=len(data.vocabulary),
        )
        for side in data.samples
    )
    counts = seen + 1.0
    nats = -(counts / counts.sum()).log()
    return float((asked * nats).sum() / asked.sum())
