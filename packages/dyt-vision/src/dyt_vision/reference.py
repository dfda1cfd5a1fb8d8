"""The reference score of vision: what the most frequent class reaches."""

from collections import Counter

from dyt_vision.data.datamodule import VisionData


def majority(data: VisionData) -> float:
    """Share of the validation set in the class that is most frequent in training."""
    train, val = data.labels
    ((frequent, _),) = Counter(train).most_common(1)
    return val.count(frequent) / len(val)
