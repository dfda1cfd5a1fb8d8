"""Latents of large images: encoded once, then drawn from their distributions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset


class Latents(Dataset[tuple[Tensor, Tensor]]):
    """``(latent (channels, h, w) float of about unit variance, label int64)``.

    Args:
        moments: as `Autoencoder.moments` returns them.
        labels: (N,).
        scale: the autoencoder's.
        flip: the chance of the mirror image.
        draw: from the latent's distribution; else its mean. Both are drawn from torch's
            global generator.
    """

    def __init__(
        self,
        moments: NDArray[Any],
        labels: Sequence[int],
        scale: float,
        *,
        flip: float = 0.0,
        draw: bool = False,
    ) -> None:
        self.moments, self.scale, self.flip, self.draw = moments, scale, flip, draw
        self.labels = torch.as_tensor(labels, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Tensor]]:
        """A batch at once, as torch's loader asks for it."""
        mirrored = np.zeros(len(indices), int)
        if self.flip:
            mirrored = (torch.rand(len(indices)) < self.flip).long().numpy()
        mean, log_variance = torch.from_numpy(self.moments[indices, mirrored]).float().chunk(2, 1)
        if self.draw:
            mean = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        return list(zip(mean * self.scale, self.labels[indices], strict=True))
