"""Evaluation of photographs, against the published code's steps by other means."""

import numpy as np
import pytest
import torch
from PIL import Image

from dyt_vision.data.photographs import augmented, resized_and_cropped

MEAN = np.array([0.485, 0.456, 0.406])  # ImageNet's
STD = np.array([0.229, 0.224, 0.225])


def photograph(width, height):
    pixels = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)


@pytest.mark.parametrize("size", [(640, 480), (300, 500), (256, 256)])
def test_the_shorter_side_becomes_256_bicubically_and_the_middle_is_cut_out(size):
    image = photograph(*size)
    shorter = min(size)
    resized = image.resize([256 * side // shorter for side in size], Image.Resampling.BICUBIC)
    left, top = (round((side - 224) / 2) for side in resized.size)
    cut = np.asarray(resized.crop((left, top, left + 224, top + 224)), dtype=np.float64) / 255
    expected = torch.from_numpy((cut - MEAN) / STD).permute(2, 0, 1)
    found = resized_and_cropped(224)(image)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


def test_training_images_are_normalized_alike():
    from dyt_vision.catalog import TRAININGS

    options = TRAININGS["imagenet"].options
    augment, erase = str(options["auto_augment"]), float(options["random_erase"])
    torch.manual_seed(0)
    black = Image.new("RGB", (64, 64))
    assert torch.equal(augmented(32, "", 0.0)(black), resized_and_cropped(32)(black))
    given = augmented(32, augment, erase)(Image.new("RGB", (64, 64), (124, 116, 104)))
    assert given.shape == (3, 32, 32)
    assert given.abs().mean() < 3  # ImageNet's mean, but for the augmentation
