"""The linear denoiser: what it is exact for, and that a model's loss compares with it."""

import pytest
import torch
from torch.utils.data import TensorDataset

from dyt_diffusion import domain
from dyt_diffusion.data.datamodule import DiffusionData
from dyt_diffusion.process import process
from dyt_diffusion.reference import linear_denoising_loss


def test_it_is_the_least_error_on_independent_gaussians(task):
    """There the error left is a variance / (a variance + 1 - a), averaged over timesteps."""
    torch.manual_seed(0)
    spread = torch.tensor([0.1, 1.0]).view(1, 1, 2).expand(1, 2, 2)
    images = torch.randn(4000, 1, 2, 2) * spread + 0.5
    samples = TensorDataset(images, torch.zeros(4000, dtype=torch.long))
    data = DiffusionData(samples, samples, samples, class_names=["any"], key="", task=task())
    kept = process().alphas_cumprod.view(-1, 1)
    variance = torch.tensor([[0.01, 1.0]])
    wanted = (kept * variance / (kept * variance + 1 - kept)).mean().item()
    assert linear_denoising_loss(data) == pytest.approx(wanted, rel=0.03)


def test_it_repeats_itself_and_leaves_the_random_numbers_alone(task):
    data = domain.build_data(task())
    before = torch.get_rng_state()
    loss, again = (domain.reference_score(task(), data) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert loss == again == pytest.approx(0.1497, abs=1e-4)
    assert domain.metric.reference
