"""The linear denoisers: what they are exact for, and that a model's loss compares with it."""

import pytest
import torch
from torch.utils.data import TensorDataset

from dyt_diffusion import domain
from dyt_diffusion.data.datamodule import DiffusionData
from dyt_diffusion.data.sets import Sets
from dyt_diffusion.process import process
from dyt_diffusion.reference import (
    gaussian_denoising_loss,
    independent_pixels,
    linear_denoising_loss,
)


def test_it_is_the_least_error_on_independent_gaussians():
    """There the error left is a variance / (a variance + 1 - a), averaged over timesteps."""
    torch.manual_seed(0)
    spread = torch.tensor([0.1, 1.0]).view(1, 1, 2).expand(1, 2, 2)
    images = torch.randn(4000, 1, 2, 2) * spread + 0.5
    samples = TensorDataset(images, torch.zeros(4000, dtype=torch.long))
    data = DiffusionData(
        Sets(train=samples, plain=samples, val=samples, class_names=["any"]), batch_size=16
    )
    kept = process().alphas_cumprod.view(-1, 1)
    variance = torch.tensor([[0.01, 1.0]])
    wanted = (kept * variance / (kept * variance + 1 - kept)).mean().item()
    assert linear_denoising_loss(data) == pytest.approx(wanted, rel=0.03)


def test_the_class_s_denoiser_is_the_least_error_on_correlated_gaussians():
    """There it is as above, along the axes of each class's covariance."""
    torch.manual_seed(0)
    labels = torch.arange(4000) % 2
    turn = torch.tensor([[0.8, 0.6], [-0.6, 0.8]])
    values = (torch.randn(4000, 2) * torch.tensor([0.1, 1.0])) @ turn + labels[:, None] * 3.0
    samples = TensorDataset(values.view(-1, 1, 1, 2).repeat(1, 1, 2, 1), labels)
    data = DiffusionData(
        Sets(train=samples, plain=samples, val=samples, class_names=["a", "b"]), batch_size=16
    )
    kept = process().alphas_cumprod.view(-1, 1)
    variance = torch.tensor([[0.02, 2.0, 0.0, 0.0]])  # the two rows are equal
    wanted = (kept * variance / (kept * variance + 1 - kept)).mean().item()
    assert gaussian_denoising_loss(data) == pytest.approx(wanted, rel=0.03)


def test_they_repeat_themselves_and_leave_the_random_numbers_alone(task):
    data = domain.build_data(task())
    before = torch.get_rng_state()
    found, again = (domain.references(task(), data) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert found == again
    assert [each.role for each in found] == ["blind", "modest", "strong"]
    # 1 is the noise's variance; each looks at more: nothing, a pixel, all pixels and the class.
    assert [each.score for each in found] == pytest.approx([1.0, 0.1497, 0.096], abs=0.005)


def test_independent_pixels_have_the_class_s_means(task):
    data = domain.build_data(task())
    labels = torch.arange(2000) % 2
    samples = independent_pixels(data, labels, torch.Generator().manual_seed(0))
    real = torch.stack([image for image, label in data.plain if label == 1])
    assert samples.abs().max() <= 1
    torch.testing.assert_close(samples[labels == 1].mean(0), real.mean(0), atol=0.12, rtol=0)
