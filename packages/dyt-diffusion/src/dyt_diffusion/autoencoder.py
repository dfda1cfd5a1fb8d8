"""A diffusers autoencoder: images to latents, once, and latents to images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from dyt_bench.plugin.derived import derived_array
from dyt_bench.plugin.domain import DataError, reason

_BATCH = 32  # images encoded at once


class Autoencoder:
    """An AutoencoderKL in a folder that ``save_pretrained`` wrote; its weights load when needed.

    Raises:
        DataError: the folder holds none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            config = AutoencoderKL.load_config(folder, local_files_only=True)
            self.factor = 2 ** (len(config["block_out_channels"]) - 1)  # pixels a latent's side
            self.channels = int(config["latent_channels"])
            self.scale = float(config["scaling_factor"])  # brings latents to unit variance
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._error(error) from None
        self._model: AutoencoderKL | None = None

    def moments(
        self, name: str, images: Callable[[int, int], NDArray[np.uint8]], count: int, size: int
    ) -> NDArray[Any]:
        """Means and log variances of the latents of images and of their mirror images.

        Args:
            name: holds a digest of the images and the weights.
            images: the (n, 3, size, size) uint8 images from the first number up to the second.
            count: of images.
            size: pixels a side.

        Returns:
            (count, 2, 2 * channels, h, w) float16, memory-mapped: the image, then its mirror
            image; the mean's channels, then the log variance's.
        """
        side = size // self.factor

        def rows(start: int, stop: int) -> NDArray[Any]:
            pixels = torch.from_numpy(images(start, stop)).float() / 127.5 - 1
            both = torch.stack([pixels, pixels.flip(-1)], 1).flatten(0, 1)
            encoded = torch.cat([self._encode(part) for part in torch.split(both, _BATCH)])
            return torch.unflatten(encoded, 0, (-1, 2)).half().numpy()

        shape = (count, 2, 2 * self.channels, side, side)
        return derived_array(f"diffusion/latents-{name}.npy", shape, "float16", rows)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """(B, channels, h, w) of unit variance -> images (B, 3, H, W), about in [-1, 1]."""
        model = self._load()
        parts = torch.split((latents / self.scale).to(model.device), _BATCH)
        return torch.cat([model.decode(part).sample for part in parts]).to(latents.device)

    @torch.no_grad()
    def _encode(self, pixels: Tensor) -> Tensor:
        model = self._load()
        moments = model.encode(pixels.to(model.device)).latent_dist
        return torch.cat([moments.mean, moments.logvar], 1).cpu()

    def _load(self) -> AutoencoderKL:
        if self._model is None:
            device = torch.accelerator.current_accelerator(check_available=True)
            try:
                # safetensors alone: other weight files are pickles, which can run code.
                model = AutoencoderKL.from_pretrained(
                    self.folder, local_files_only=True, use_safetensors=True
                )
            except (OSError, ValueError, RuntimeError) as error:
                raise self._error(error) from None
            self._model = model.to(device or "cpu").eval().requires_grad_(False)
        return self._model

    def _error(self, error: Exception) -> DataError:
        return DataError(
            f"{self.folder} holds no autoencoder ({reason(error)}): save one there "
            "with diffusers' AutoencoderKL.save_pretrained"
        )
