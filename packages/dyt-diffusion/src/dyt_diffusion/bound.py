"""The variational bound, by which a DiT learns the variance of its reverse steps."""

import math

import torch
from torch import Tensor, nn
from torch.special import ndtr


class VariationalBound(nn.Module):
    """L_vlb of one timestep, in bits for a value of the image.

    t > 0: KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), between Gaussians;
    t = 0: -log p(x_0 | x_1), the Gaussian's mass in the value's bin.

    The model's mean follows from its noise; no gradient goes through it. Its log variance is
    (1 + v) / 2 of the way from the posterior's to log beta_t.

    Args:
        betas: (T,), the forward process's.
        levels: how many values a pixel can have; they lie evenly in [-1, 1].

    Source: arXiv 2102.09672, section 3.1; arXiv 2006.11239, section 3.
    """

    def __init__(self, betas: Tensor, levels: int) -> None:
        super().__init__()
        self.half_bin = 1 / (levels - 1)
        betas = betas.double()  # 1 - the first cumulative products leaves few digits in float32
        kept = (1 - betas).cumprod(0)
        before = torch.cat([kept.new_ones(1), kept[:-1]])
        posterior = betas * (1 - before) / (1 - kept)
        posterior[0] = posterior[1]  # it is zero, and has no logarithm
        tables = {
            "low": posterior.log(),
            "high": betas.log(),
            # x_0 as the noise puts it, less x_0 as the model's noise does, is this factor times
            # the model's error; and the mean of x_{t-1} moves by the second factor of that.
            "start": (1 / kept - 1).sqrt(),
            "mean": betas * before.sqrt() / (1 - kept),
        }
        for name, table in tables.items():
            self.register_buffer(name, table.float(), persistent=False)

    def forward(self, start: Tensor, error: Tensor, v: Tensor, timesteps: Tensor) -> Tensor:
        """Each image's bound at its timestep.

        Args:
            start: x_0, (B, C, H, W) float32.
            error: the predicted noise less the noise, as ``start``.
            v: the model's variance output, as ``start``; -1 is the posterior's, 1 is beta_t.
            timesteps: (B,) int64 in 0..T-1.

        Returns:
            (B,) bits a value.
        """
        low, high, scale, weight = (
            getattr(self, name)[timesteps].view(-1, 1, 1, 1)
            for name in ("low", "high", "start", "mean")
        )
        log_variance = low + (1 + v) / 2 * (high - low)
        shift = scale * error.detach()  # of the predicted x_0, to the other side
        between = log_variance - low - 1 + (low - log_variance).exp()
        divergence = (between + (weight * shift).square() * (-log_variance).exp()) / 2
        mass = self._log_mass(start, shift, log_variance)
        nats = torch.where(timesteps.view(-1, 1, 1, 1) > 0, divergence, -mass)
        return nats.flatten(1).mean(1) / math.log(2)

    def _log_mass(self, start: Tensor, shift: Tensor, log_variance: Tensor) -> Tensor:
        """The log of a Gaussian's mass in the bins of ``start``; the outer bins are open."""
        precision = (-log_variance / 2).exp()
        upper = ndtr((shift + self.half_bin) * precision)
        lower = ndtr((shift - self.half_bin) * precision)
        upper = torch.where(start > 0.999, 1.0, upper)
        lower = torch.where(start < -0.999, 0.0, lower)
        return (upper - lower).clamp(min=1e-12).log()
