"""Noise prediction, and sampling with classifier-free guidance."""

from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.utils.torch_utils import randn_tensor
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn.functional import mse_loss

from dyt_bench.cell import Task
from dyt_bench.optim import adamw_cosine
from dyt_diffusion.data import SIZE, ImageData
from dyt_diffusion.models import MODELS

NOISE_LEVELS = 1000  # timesteps of the diffusion, linear betas
LABEL_DROPOUT = 0.1  # share of training images shown without their label
VIEWS = 2  # times a validation image is seen: in the lower and in the upper half of the noise
VAL_SEED = 0


class Denoiser(LightningModule):
    """Predicts the noise eps in x_t = sqrt(a_t) x + sqrt(1 - a_t) eps.

    Logs ``train/loss`` and ``val/loss``, the mean squared error per pixel (1 for a model that
    predicts zero), and ``val/loss_low`` and ``val/loss_high``, its parts below and above
    timestep 500. Validation draws the same noise each time, and the images of a batch share
    out the timesteps evenly.
    """

    units_per_sample = 1

    def __init__(self, task: Task, data: ImageData) -> None:
        super().__init__()
        self.task = task
        self.channels = data.channels
        self.no_label = data.classes
        self.model = MODELS[task.model](data.channels, data.classes)
        self.noising = DDPMScheduler(num_train_timesteps=NOISE_LEVELS)
        self.val_generator = torch.Generator()  # on the CPU: the same noise on every device

    def forward(self, noisy: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        """(B, C, 16, 16), (B,) in 0..999, (B,) in 0..classes -> noise (B, C, 16, 16).

        The label ``classes`` stands for none.
        """
        noise: Tensor = self.model(noisy, timesteps, labels, return_dict=False)[0]
        return noise

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        images, labels = batch
        noise = torch.randn_like(images)
        timesteps = torch.randint_like(labels, NOISE_LEVELS)
        dropped = torch.rand(labels.shape, device=labels.device) < LABEL_DROPOUT
        labels = labels.masked_fill(dropped, self.no_label)
        loss = mse_loss(
            self(self.noising.add_noise(images, noise, timesteps), timesteps, labels), noise
        )
        self.log("train/loss", loss)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.val_generator.manual_seed(VAL_SEED)

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        images, labels = batch
        images, labels = images.repeat(VIEWS, 1, 1, 1), labels.repeat(VIEWS)
        noise = randn_tensor(images.shape, generator=self.val_generator, device=self.device)
        count = len(labels)
        timesteps = (torch.arange(count, device=self.device) * 2 + 1) * NOISE_LEVELS // (2 * count)
        predicted = self(self.noising.add_noise(images, noise, timesteps), timesteps, labels)
        low, high = (predicted - noise).square().view(VIEWS, -1).mean(1)
        losses = {"val/loss": (low + high) / 2, "val/loss_low": low, "val/loss_high": high}
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

        eps = eps(x, none) + guidance * (eps(x, label) - eps(x, none)) at every step.

        Args:
            labels: (B,) int64, in 0..classes; ``classes`` for an image of any class.
            steps: model evaluations, a divisor of 1,000.
            guidance: 0 ignores the labels, 1 is the plain conditional model, more insists.
            generator: of the noise started from; None for torch's global one.

        Returns:
            (B, C, 16, 16) in [-1, 1].

        Raises:
            ValueError: ``steps`` does not divide 1,000.

        Source: arXiv 2010.02502 (DDIM), arXiv 2207.12598 (guidance).
        """
        # diffusers' trailing timesteps go astray otherwise: for 61 steps the last one is -1.
        if steps < 1 or NOISE_LEVELS % steps:
            raise ValueError(f"steps must divide {NOISE_LEVELS:,}, got {steps}")
        ddim = DDIMScheduler(num_train_timesteps=NOISE_LEVELS, timestep_spacing="trailing")
        ddim.set_timesteps(steps)
        labels = labels.to(self.device)
        both = torch.cat([labels, torch.full_like(labels, self.no_label)])
        shape = (len(labels), self.channels, SIZE, SIZE)
        images = randn_tensor(shape, generator=generator, device=self.device)
        for timestep in ddim.timesteps:
            noise = self(
                images.repeat(2, 1, 1, 1), timestep.to(self.device).expand(len(both)), both
            )
            with_label, without = noise.chunk(2)
            guided = without + guidance * (with_label - without)
            images = ddim.step(guided, timestep, images).prev_sample
        return images

    def configure_optimizers(self) -> dict[str, Any]:
        # No weight decay, as in the paper (section 4).
        return adamw_cosine(
            self,
            learning_rate=self.task.learning_rate,
            steps=self.task.steps,
            weight_decay=0.0,
        )
