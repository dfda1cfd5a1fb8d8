"""Reference scores: what a model reaches that has learned nothing."""

from functools import cache
from math import log

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torchaudio.transforms import MelSpectrogram

from dyt_bench.plugin.domain import Reference
from dyt_speech.data.audio import SAMPLE_RATE
from dyt_speech.models import CONFIGS

_BANDS = 40  # of the mel scale


def references(name: str) -> list[Reference]:
    """The blind guess alone: the codes to be told apart are the model's own.

    A simple method has no codes to predict. What a model's features say, compared with what the
    spectrum says, is `dyt_speech.evaluation.linear_probe`.
    """
    return [
        Reference("a blind guess between a frame's code and others", blind_guess(name), "blind")
    ]


def blind_guess(name: str) -> float:
    """Loss, in nats per masked frame, of a guess that holds all candidates equally likely.

    ``log(1 + negatives)``: the candidates are the frame's own code and those of its negatives.

    Args:
        name: the model's, which decides how many negatives there are.
    """
    return log(1 + CONFIGS[name].num_negatives)


def mel_features(waves: Tensor) -> NDArray[np.float32]:
    """(B, samples) -> (B, 40): the mean over frames of 20 ms of the log energy in mel bands.

    What a linear probe predicts from these needs no pretraining.
    """
    energy = _mel()(waves)
    mean: NDArray[np.float32] = (energy + 1e-5).log().mean(2).numpy()
    return mean


@cache
def _mel() -> MelSpectrogram:
    hop = SAMPLE_RATE // 50
    return MelSpectrogram(SAMPLE_RATE, n_fft=2 * hop, hop_length=hop, n_mels=_BANDS)
