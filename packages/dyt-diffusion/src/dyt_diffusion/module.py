"""The LightningModule of diffusion: noise and variance prediction, and guided sampling."""

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor, nn
from torch.optim import AdamW

from dyt_bench.plugin.data import nth_batch, weight
from dyt_bench.plugin.domain import Decays, entry
from dyt_bench.plugin.module import TrainableModule, unsaved
from dyt_bench.plugin.noise import drawn, generators
from dyt_bench.plugin.optim import MakeOptimizer, MakeSchedule
from dyt_diffusion.bound import VariationalBound
from dyt_diffusion.models import ARCHITECTURES
from dyt_diffusion.process import TIMESTEPS, VIEWS, process, validation_views

LABEL_DROPOUT = 0.1  # share of training images shown without their label


class Denoiser(TrainableModule):
    """Predicts the noise e in x_t = sqrt(a_t) x + sqrt(1 - a_t) e, and how sure of it to be.

    Trained by L_simple + L_vlb: the mean squared error of the noise per pixel value (1 for a
    model that predicts zero) and the variational bound in bits per value at one timestep, whose
    gradient reaches the variance alone. Logged apart: ``train/loss`` and ``val/loss`` are the
    error, ``train/vlb`` and ``val/vlb`` the bound. ``val/loss_low`` (t < 500) and
    ``val/loss_high`` are the error's halves.

    Source: arXiv 2212.09748 (DiT), arXiv 2006.11239 (L_simple), arXiv 2102.09672 (the sum).

    Args:
        model: (images, timesteps, labels, return_dict=False) -> noise and v, stacked on the
            channels, in a tuple, as diffusers' ``DiTTransformer2DModel``; or the name of one in
            `dyt_diffusion.models`, which is built.
        num_classes: how many labels there are, without the one for none.
        channels, size: of the images.
        levels: how many values a pixel can have.
        latents: whether images are latents, of any value; pixels are in [-1, 1].
        learning_rate, optimizer, schedule, decays: as in `dyt_bench.plugin.optim.configured`.
        seed: of noise, timesteps and dropped labels, with the step and the sample's place in it.

    Raises:
        UserError: no model has that name.
    """

    units_per_sample = 1

    def __init__(
        self,
        model: str | nn.Module,
        num_classes: int,
        *,
        channels: int,
        size: int,
        levels: int = 256,
        latents: bool = False,
        learning_rate: float = 1e-4,
        optimizer: MakeOptimizer = AdamW,
        schedule: MakeSchedule | None = None,
        decays: Decays = "matrices",
        seed: int = 0,
    ) -> None:
        super().__init__(learning_rate, optimizer, schedule, decays)
        self.save_hyperparameters(ignore=unsaved(model))
        self.seed = seed
        self.image_shape = (channels, size, size)
        self.no_label = num_classes
        self.is_bounded = not latents
        if isinstance(model, str):
            model = entry(ARCHITECTURES, model, "model").build(channels, size, num_classes)
        self.model = model
        self.diffusion = process()
        self.bound = VariationalBound(self.diffusion.betas, levels)

    def forward(self, noisy: Tensor, timesteps: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W), (B,) in 0..999, (B,) in 0..classes -> noise and v, both (B, C, H, W).

        The label ``classes`` stands for none. At v = -1 a step back has the least variance the
        process allows, at 1 the most.
        """
        output: Tensor = self.model(noisy, timesteps, labels, return_dict=False)[0]
        noise, v = output.float().chunk(2, 1)
        return noise, v

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        images, labels = batch
        by = generators(self, self.seed, index, len(images))
        shape, device = images.shape[1:], images.device
        noise = drawn(by, lambda g: torch.randn(shape, generator=g), device)
        timesteps = drawn(by, lambda g: torch.randint(TIMESTEPS, (), generator=g), device)
        dropped = drawn(by, lambda g: torch.rand((), generator=g), device) < LABEL_DROPOUT
        labels = labels.masked_fill(dropped, self.no_label)
        predicted, v = self(self.diffusion.add_noise(images, noise, timesteps), timesteps, labels)
        error = predicted - noise
        loss: Tensor = error.square().mean()
        bound: Tensor = self.bound(images, error, v, timesteps).mean()
        self.log("train/loss", loss)
        self.log("train/vlb", bound)
        return loss + bound

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        view = validation_views(batch, nth_batch(index), self.diffusion)
        predicted, v = self(view.noisy, view.timesteps, view.labels)
        error = predicted - view.noise
        low, high = error.square().view(VIEWS, -1).mean(1)
        losses = {
            "val/loss": error.square().mean(),
            "val/loss_low": low,
            "val/loss_high": high,
            "val/vlb": self.bound(view.images, error, v, view.timesteps).mean(),
        }
        self.log_dict(losses, batch_size=weight(len(batch[0])), sync_dist=True)

    @torch.no_grad()
    def sample(
        self,
        labels: Tensor,
        steps: int = 50,
        guidance: float = 2.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw one image for each label, step by step with the variances learned.

        e = e(x, none) + guidance · (e(x, label) - e(x, none)) at every step.

        Args:
            labels: (B,) int64 in 0..classes; ``classes`` asks for an image of any class.
            steps: of the way back, 2 to 1,000; an image takes as many evaluations of the model,
                and twice as many unless ``guidance`` is 1.
            guidance: 0 ignores the labels, 1 is the conditional model as trained, more insists.
            generator: of all noise; None for torch's global one.

        Returns:
            (B, C, H, W); pixels are in [-1, 1].

        Raises:
            ValueError: ``steps`` is out of range.

        Source: arXiv 2102.09672, section 4; arXiv 2207.12598 (guidance).
        """
        if not 2 <= steps <= TIMESTEPS:
            raise ValueError(f"steps must be from 2 to {TIMESTEPS:,}, got {steps}")
        back = process(clip=self.is_bounded)
        back.set_timesteps(steps)
        labels = labels.to(self.device)
        nothing = torch.full_like(labels, self.no_label)
        shape = (len(labels), *self.image_shape)
        images: Tensor = randn_tensor(shape, generator=generator, device=self.device)
        for timestep in back.timesteps.tolist():
            times = torch.full_like(labels, timestep)
            noise, v = self(images, times, labels)
            if guidance != 1:
                without, _ = self(images, times, nothing)
                noise = without + guidance * (noise - without)
            output = torch.cat([noise, v], 1)
            images = back.step(output, timestep, images, generator, return_dict=False)[0]
        return images
