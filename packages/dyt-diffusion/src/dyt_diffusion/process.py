"""The forward process, x_t = sqrt(a_t) x + sqrt(1 - a_t) e, and the noise of validation."""

from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

TIMESTEPS = 1000
VIEWS = 2  # of each validation image: at a lower and at a higher timestep


def process(*, clip: bool = True) -> DDPMScheduler:
    """The paper's process, betas linear from 1e-4 to 0.02, and its way back by learned variances.

    Args:
        clip: on the way back, hold what is predicted of x within [-1, 1].

    Source: arXiv 2212.09748, section 4; arXiv 2102.09672, section 4 for fewer steps back.
    """
    return DDPMScheduler(
        num_train_timesteps=TIMESTEPS,
        variance_type="learned_range",
        timestep_spacing="linspace",
        clip_sample=clip,
    )


@dataclass(frozen=True)
class Noised:
    """Images, the noise added to them, and the noisy images; all of one batch size."""

    images: Tensor
    labels: Tensor
    noise: Tensor
    timesteps: Tensor
    noisy: Tensor


def validation_views(batch: tuple[Tensor, Tensor], index: int, diffusion: DDPMScheduler) -> Noised:
    """Each image twice; the halves are of t < 500 and of t >= 500.

    Batch ``index`` meets the same noise at every validation, on every device, and its images
    share out the timesteps evenly.
    """
    images, labels = (part.repeat(VIEWS, *[1] * (part.dim() - 1)) for part in batch)
    # Drawn on the CPU, so that the noise is the same on every device.
    generator = torch.Generator().manual_seed(index)
    noise = randn_tensor(images.shape, generator=generator, device=images.device)
    slots = torch.arange(len(labels), device=labels.device)
    timesteps = (2 * slots + 1) * TIMESTEPS // (2 * len(slots))  # the middle of each slot
    return Noised(images, labels, noise, timesteps, diffusion.add_noise(images, noise, timesteps))
