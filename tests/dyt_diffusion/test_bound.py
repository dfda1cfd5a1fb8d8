"""The variational bound, against diffusers' posterior and torch's distributions."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from dyt_diffusion.bound import VariationalBound
from dyt_diffusion.process import process


def reverse_step(diffusion, noisy, noise, v, timestep):
    """Mean and standard deviation of diffusers' step back, out of two steps of known noise."""
    drawn, stepped = [], []
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        output = torch.cat([noise, v], 1)
        stepped.append(diffusion.step(output, timestep, noisy, generator).prev_sample)
        generator.manual_seed(seed)
        drawn.append(torch.randn(noise.shape, generator=generator, dtype=noise.dtype))
    deviation = (stepped[0] - stepped[1]) / (drawn[0] - drawn[1])
    return stepped[0] - deviation * drawn[0], deviation


@pytest.mark.parametrize("timestep", [1, 2, 40, 500, 999])
def test_it_is_the_divergence_of_the_library_s_step_from_the_posterior(timestep):
    torch.manual_seed(timestep)
    diffusion = process(clip=False)
    start, noise, error, v = (torch.randn(3, 2, 4, 4, dtype=torch.float64) for _ in range(4))
    start, error, v = start.clamp(-1, 1), error / 10, v.clamp(-0.9, 0.9)
    timesteps = torch.full((3,), timestep)
    noisy = diffusion.add_noise(start, noise, timesteps)
    posterior = Normal(*reverse_step(diffusion, noisy, noise, torch.full_like(v, -1), timestep))
    model = Normal(*reverse_step(diffusion, noisy, noise + error, v, timestep))
    wanted = kl_divergence(posterior, model).mean((1, 2, 3)) / math.log(2)
    bound = VariationalBound(diffusion.betas, 256)(start, error, v, timesteps)
    torch.testing.assert_close(bound, wanted, rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize("levels", [17, 256])
def test_the_first_timestep_shares_out_all_mass_among_the_levels(levels):
    """For any guess, the probabilities of all the values that a pixel can have sum to one."""
    values = torch.linspace(-1, 1, levels).view(-1, 1, 1, 1)
    guess = torch.tensor(0.013)
    scale = (1 / process().alphas_cumprod[0] - 1).sqrt()
    error = (values - guess) / scale  # so that every value meets the same guess
    bound = VariationalBound(process().betas, levels)
    bits = bound(values, error, torch.full_like(values, 0.3), torch.zeros(levels, dtype=torch.long))
    assert (2**-bits).sum().item() == pytest.approx(1, abs=1e-4)
    assert bits.argmin() == (values.flatten() - guess).abs().argmin()


def test_only_the_variance_learns_from_it():
    start, error, v = (torch.randn(4, 1, 2, 2, requires_grad=True) for _ in range(3))
    bound = VariationalBound(process().betas, 256)
    bound(start.clamp(-1, 1), error, v, torch.tensor([0, 1, 10, 999])).sum().backward()
    assert error.grad is None
    assert v.grad.flatten(1).any(1).all()


def test_it_stays_finite_where_the_model_is_far_off():
    start, error = torch.zeros(3, 1, 2, 2), torch.full((3, 1, 2, 2), 50.0)
    v = torch.full_like(start, -3.0, requires_grad=True)
    bits = VariationalBound(process().betas, 17)(start, error, v, torch.tensor([0, 1, 999]))
    bits.sum().backward()
    assert bits.isfinite().all()
    assert v.grad.isfinite().all()
