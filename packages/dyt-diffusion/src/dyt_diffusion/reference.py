"""The reference score of diffusion: what a denoiser reaches that looks at each pixel alone."""

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dyt_bench.plugin.data import at_most
from dyt_diffusion.data.datamodule import DiffusionData
from dyt_diffusion.process import process, validation_views

_FITTED_TO = 10_000  # training images: enough for a mean and a variance


def linear_denoising_loss(data: DiffusionData) -> float:
    """The validation loss of the best linear guess of the noise from the same pixel's value.

    e = sqrt(1 - a) (x_t - sqrt(a) mean) / (a variance + 1 - a), with each pixel's mean and
    variance over the training images; exact where pixels are independent Gaussians.
    """
    mean, variance = _pixel_statistics(data)
    diffusion = process()
    total = count = 0.0
    for index, batch in enumerate(data.val_dataloader()):
        view = validation_views(batch, index, diffusion)
        kept = diffusion.alphas_cumprod[view.timesteps].view(-1, 1, 1, 1)
        centred = view.noisy - kept.sqrt() * mean
        noise = (1 - kept).sqrt() * centred / (kept * variance + 1 - kept)
        total += (noise - view.noise).square().mean().item() * len(view.labels)
        count += len(view.labels)
    return total / count


def _pixel_statistics(data: DiffusionData) -> tuple[Tensor, Tensor]:
    """(C, H, W) means and variances."""
    total = squares = torch.zeros(data.channels, data.size, data.size, dtype=torch.float64)
    seen = at_most(data.plain, _FITTED_TO)
    count = 0
    for images, _ in DataLoader(seen, 500, generator=torch.Generator()):
        total = total + images.double().sum(0)
        squares = squares + images.double().square().sum(0)
        count += len(images)
    mean = total / count
    return mean.float(), (squares / count - mean.square()).clamp(min=0).float()
