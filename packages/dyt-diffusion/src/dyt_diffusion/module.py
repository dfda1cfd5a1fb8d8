"""Noise prediction, and sampling with classifier-free guidance."""

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.utils.torch_utils import randn_tensor
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn.functional import mse_loss

from dyt_bench.cell import Task
from dyt_bench.domain import Training
from dyt_bench.optim import adamw
from dyt_diffusion.data import ImageData
from dyt_diffusion.models import MODELS

TIMESTEPS = 1000  # of the diffusion; betas are linear, from 1e-4 to 0.02
LABEL_DROPOUT = 0.1  # share of training images shown without their label
VIEWS = 2  # of each validation image: at a lower and at a higher timestep


class Denoiser(LightningModule):
    """Predicts the noise e in x_t = sqrt(a_t) x + sqrt(1 - a_t) e, from x_t, t and the label.

    Logs ``train/loss`` and ``val/loss``, the mean squared error per pixel value (1 for a model
    that predicts zero), and its halves ``val/loss_low`` (t < 500) and ``val/loss_high``. At
    every validation an image meets the same noise at the same two timesteps, and the images of
    a batch share out the timesteps evenly.

    Source: arXiv 2006.11239 (the loss), arXiv 2212.09748 (DiT).
    """

    units_per_sample = 1

    def __init__(self, task: Task, data: ImageData, recipe: Training) -> None:
        super().__init__()
        self.task, self.recipe = task, recipe
        self.image_shape = (data.channels, data.size, data.size)
        self.no_label = data.classes
        self.model = MODELS[task.model](data.channels, data.size, data.classes)
        self.diffusion = DDPMScheduler(num_train_timesteps=TIMESTEPS)

    def forward(self, noisy: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        """(B, C, H, W), (B,) in 0..999, (B,) in 0..classes -> noise (B, C, H, W).

        The label ``classes`` stands for none.
        """
        noise: Tensor = self.model(noisy, timesteps, labels, return_dict=False)[0]
        return noise

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        images, labels = batch
        noise = torch.randn_like(images)
        timesteps = torch.randint_like(labels, TIMESTEPS)
        dropped = torch.rand(labels.shape, device=labels.device) < LABEL_DROPOUT
        labels = labels.masked_fill(dropped, self.no_label)
        noisy = self.diffusion.add_noise(images, noise, timesteps)
        loss = mse_loss(self(noisy, timesteps, labels), noise)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        images, labels = (part.repeat(VIEWS, *[1] * (part.dim() - 1)) for part in batch)
        # Drawn on the CPU, so that the noise is the same on every device.
        generator = torch.Generator().manual_seed(index)
        noise = randn_tensor(images.shape, generator=generator, device=images.device)
        slots = torch.arange(len(labels), device=labels.device)
        timesteps = (2 * slots + 1) * TIMESTEPS // (2 * len(slots))  # the middle of each slot
        noisy = self.diffusion.add_noise(images, noise, timesteps)
        squares = (self(noisy, timesteps, labels) - noise).square()
        low, high = squares.view(VIEWS, -1).mean(1)
        losses = {"val/loss": squares.mean(), "val/loss_low": low, "val/loss_high": high}
        self.log_dict(losses, batch_size=len(batch[0]))

    @torch.no_grad()
    def sample(
        self,
        labels: Tensor,
        steps: int = 50,
        guidance: float = 2.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw one image for each label, by DDIM with classifier-free guidance.

        e = e(x, none) + guidance · (e(x, label) - e(x, none)) at every step.

        Args:
            labels: (B,) int64 in 0..classes; ``classes`` asks for an image of any class.
            steps: evaluations of the model for each image; a divisor of 1,000.
            guidance: 0 ignores the labels, 1 is the conditional model as trained, more insists.
            generator: of the noise to start from; None for torch's global one.

        Returns:
            (B, C, H, W) in [-1, 1].

        Raises:
            ValueError: ``steps`` does not divide 1,000.

        Source: arXiv 2010.02502 (DDIM), arXiv 2207.12598 (guidance).
        """
        # Otherwise diffusers' "trailing" timesteps go astray: with 61 steps the last one is -1.
        if steps < 1 or TIMESTEPS % steps:
            raise ValueError(f"steps must be a divisor of {TIMESTEPS:,}, got {steps}")
        ddim = DDIMScheduler(num_train_timesteps=TIMESTEPS, timestep_spacing="trailing")
        ddim.set_timesteps(steps)
        labels = labels.to(self.device)
        labels = torch.cat([labels, torch.full_like(labels, self.no_label)])
        shape = (len(labels) // 2, *self.image_shape)
        images: Tensor = randn_tensor(shape, generator=generator, device=self.device)
        for timestep in ddim.timesteps.tolist():
            noise = self(images.repeat(2, 1, 1, 1), torch.full_like(labels, timestep), labels)
            with_label, without = noise.chunk(2)
            guided = without + guidance * (with_label - without)
            images = ddim.step(guided, timestep, images, return_dict=False)[0]
        return images

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        task = self.task
        return adamw(self, self.recipe, learning_rate=task.learning_rate, steps=task.steps)
