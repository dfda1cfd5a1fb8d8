"""The noise that validation shows, and the library's process behind it."""

import torch

from dyt_diffusion.process import process, validation_views


def test_a_view_is_what_its_noise_makes_of_the_image():
    images, labels = torch.rand(5, 1, 4, 4), torch.arange(5)
    view = validation_views((images, labels), 3, process())
    kept = process().alphas_cumprod[view.timesteps].view(-1, 1, 1, 1)
    made = kept.sqrt() * images.repeat(2, 1, 1, 1) + (1 - kept).sqrt() * view.noise
    torch.testing.assert_close(view.noisy, made)
    assert view.labels.tolist() == labels.tolist() * 2
    assert view.timesteps.tolist() == list(range(50, 1000, 100))


def test_a_batch_meets_its_own_noise_again():
    batch = torch.zeros(2, 1, 4, 4), torch.zeros(2, dtype=torch.long)
    first, again, other = (validation_views(batch, index, process()) for index in (0, 0, 1))
    assert torch.equal(first.noise, again.noise)
    assert not torch.equal(first.noise, other.noise)


def test_the_betas_are_the_paper_s():
    betas = process().betas
    torch.testing.assert_close(betas, torch.linspace(1e-4, 0.02, 1000))
