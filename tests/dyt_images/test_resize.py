"""Images at the size of a model: framed, resampled, and floats where levels are few."""

import numpy as np
import torch

from dyt_images.resize import fit, resized


def test_images_are_framed_or_resampled():
    images = torch.full((1, 1, 28, 28), 200, dtype=torch.uint8)
    framed = fit(images, 32)
    assert torch.equal(framed[..., 2:30, 2:30], images)
    assert framed[..., 0].eq(0).all()
    assert fit(images, 64).float().mean() == 200


def test_few_levels_are_resampled_as_floats():
    ramp = np.arange(17, dtype=np.uint8).repeat(17).reshape(1, 1, 17, 17)
    same = resized(ramp, 17, 17)
    assert same.dtype == torch.float32
    assert (same.min(), same.max()) == (-1, 1)
    between = resized(ramp, 17, 34)
    assert between.shape == (1, 1, 34, 34)
    assert len(between.unique()) > 17
    assert resized(ramp, 256, 17).dtype == torch.uint8
