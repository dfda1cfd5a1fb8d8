"""Reference scores of vision: the majority class, logistic regression, the nearest neighbour."""

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch.utils.data import DataLoader, Dataset

from dyt_bench.plugin.data import at_most
from dyt_bench.plugin.domain import Reference
from dyt_vision.data.datamodule import VisionData

_FITTED_TO = 10_000  # training images at most
_VALUES = 3072  # of an image at most, 32x32 in colour: beyond, pixels say little about a class
_ITERATIONS = 200


def references(data: VisionData) -> list[Reference]:
    """Accuracies on the validation set; of large images that of the majority class alone."""
    found = [Reference("the class most frequent in training", majority(data), "blind")]
    if data.channels * data.pixels**2 <= _VALUES:
        train = pixels_and_labels(at_most(data.train, _FITTED_TO))
        val = pixels_and_labels(data.val)
        score = logistic_regression(train, val)
        found.append(Reference("logistic regression of the pixels", score, "modest"))
        found.append(Reference("1-nearest neighbour in pixels", nearest(train, val), "strong"))
    return found


def majority(data: VisionData) -> float:
    """Share of the validation set in the class that is most frequent in training."""
    train, val = data.labels
    ((frequent, _),) = Counter(train).most_common(1)
    return val.count(frequent) / len(val)


Labelled = tuple[NDArray[np.float32], NDArray[np.int64]]  # (N, values), (N,)


def pixels_and_labels(samples: Dataset[Any]) -> Labelled:
    """All of a data set of ``(image, label)``."""
    loader = DataLoader(samples, 500)
    batches: Sequence[Any] = list(loader)
    images = np.concatenate([images.flatten(1).numpy() for images, _ in batches])
    return images, np.concatenate([labels.numpy() for _, labels in batches])


def logistic_regression(train: Labelled, val: Labelled) -> float:
    """Accuracy of a linear classifier of the pixels, with scikit-learn's default penalty."""
    with warnings.catch_warnings():  # a few more iterations would change the last digit
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(max_iter=_ITERATIONS).fit(*train)
    return float(fitted.score(*val))


def nearest(train: Labelled, val: Labelled) -> float:
    """Accuracy of the class of the most similar training image."""
    return float(KNeighborsClassifier(1).fit(*train).score(*val))
