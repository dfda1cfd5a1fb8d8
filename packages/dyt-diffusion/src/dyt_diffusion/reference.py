"""Reference scores of diffusion: no noise at all, and the best linear denoisers."""

from collections.abc import Callable

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor
from torch.utils.data import DataLoader

from dyt_bench.plugin.data import at_most
from dyt_bench.plugin.domain import Reference
from dyt_diffusion.data.datamodule import DiffusionData
from dyt_diffusion.process import Noised, process, validation_views

_FITTED_TO = 10_000  # training images: enough for a mean and a variance
_MOST_VALUES = 1024  # of an image whose values' covariance is estimated


def references(data: DiffusionData) -> list[Reference]:
    """Validation losses: of no noise, of `linear_denoising_loss`, of `gaussian_denoising_loss`."""
    found = [
        Reference("no noise predicted at all", zero_loss(data), "blind"),
        Reference(
            "best linear denoiser of each pixel alone", linear_denoising_loss(data), "modest"
        ),
    ]
    if data.channels * data.size**2 <= _MOST_VALUES:
        loss = gaussian_denoising_loss(data)
        found.append(Reference("best linear denoiser of a class's images", loss, "strong"))
    return found


def zero_loss(data: DiffusionData) -> float:
    """The validation loss of a model that predicts zero: 1, but for the noise drawn."""
    return _loss(data, lambda view, kept: torch.zeros_like(view.noise))


def linear_denoising_loss(data: DiffusionData) -> float:
    """The validation loss of the best linear guess of the noise from the same pixel's value.

    e = sqrt(1 - a) (x_t - sqrt(a) mean) / (a variance + 1 - a), with each pixel's mean and
    variance over the training images; exact where pixels are independent Gaussians.
    """
    mean, variance = _pixel_statistics(data)

    def guess(view: Noised, kept: Tensor) -> Tensor:
        centred = view.noisy - kept.sqrt() * mean
        return (1 - kept).sqrt() * centred / (kept * variance + 1 - kept)

    return _loss(data, guess)


def gaussian_denoising_loss(data: DiffusionData) -> float:
    """The validation loss of the best linear guess of the noise from all pixels and the class.

    e = sqrt(1 - a) (a C + (1 - a) I)^-1 (x_t - sqrt(a) mean), with the mean and covariance C of
    the class's training images, shrunk as Ledoit and Wolf (2004) do; exact where the images of a
    class are Gaussian.
    """
    fitted = class_gaussians(data)

    def guess(view: Noised, kept: Tensor) -> Tensor:
        noise = torch.zeros_like(view.noise)
        for label, (mean, variances, axes) in fitted.items():
            own = view.labels == label
            share = kept[own].flatten(1)
            centred = view.noisy[own].flatten(1) - share.sqrt() * mean
            along = (centred @ axes) / (share * variances + 1 - share)
            noise[own] = ((1 - share).sqrt() * (along @ axes.T)).view_as(noise[own])
        return noise

    return _loss(data, guess)


Gaussian = tuple[Tensor, Tensor, Tensor]  # mean (D,), variances (D,) along axes (D, D) in columns


def class_gaussians(data: DiffusionData) -> dict[int, Gaussian]:
    """Label -> the Gaussian of the class's training images, D values each."""
    images, labels = _images(data)
    found = {}
    for label in torch.unique(labels).tolist():
        own = images[labels == label].numpy()
        covariance, _ = ledoit_wolf(own)
        variances, axes = np.linalg.eigh(covariance)
        parts = own.mean(0), variances.clip(min=0), axes
        mean, spread, along = (torch.from_numpy(part).float() for part in parts)
        found[label] = mean, spread, along
    return found


def independent_pixels(data: DiffusionData, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Samples (B, C, H, W) for the labels: each value by itself, from its class's mean and spread.

    What is known of a class without what its pixels have to do with each other.
    """
    shape = (data.channels, data.size, data.size)
    images, classes = _images(data)
    samples = torch.zeros(len(labels), *shape)
    for label in torch.unique(labels).tolist():
        own, places = images[classes == label].float(), labels == label
        noise = torch.randn(int(places.sum()), own.shape[1], generator=generator)
        drawn = own.mean(0) + own.std(0, correction=0) * noise
        samples[places] = drawn.clamp(-1, 1).view(-1, *shape)
    return samples


def _images(data: DiffusionData) -> tuple[Tensor, Tensor]:
    """(N, values) float64 and (N,) labels of the training images."""
    loader = DataLoader(at_most(data.plain, _FITTED_TO), 500, generator=torch.Generator())
    batches = list(loader)
    images = torch.cat([images.flatten(1) for images, _ in batches]).double()
    return images, torch.cat([labels for _, labels in batches])


def _loss(data: DiffusionData, guess: Callable[[Noised, Tensor], Tensor]) -> float:
    """The validation loss of a guess of the noise from a view and the kept share (B, 1, 1, 1)."""
    diffusion = process()
    total = count = 0.0
    for index, batch in enumerate(data.val_dataloader()):
        view = validation_views(batch, index, diffusion)
        kept = diffusion.alphas_cumprod[view.timesteps].view(-1, 1, 1, 1)
        noise = guess(view, kept)
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
