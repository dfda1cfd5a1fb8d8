"""Reference scores: what a model reaches that has learned nothing."""

from math import log

from dyt_speech.models import CONFIGS


def blind_guess(name: str) -> float:
    """Loss, in nats per masked frame, of a guess that holds all candidates equally likely.

    ``log(1 + negatives)``: the candidates are the frame's own code and those of its negatives.

    Args:
        name: the model's, which decides how many negatives there are.
    """
    return log(1 + CONFIGS[name].num_negatives)
