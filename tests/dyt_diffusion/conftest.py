"""A small task of the domain, to be varied; images and an autoencoder of one's own."""

import numpy as np
import pytest
import torch
from PIL import Image
from tests.dyt_images import layouts

from dyt_bench.plugin.task import Task


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Nothing is read from the user's cache, and nothing left there."""
    folder = tmp_path_factory.getbasetemp() / "data"
    monkeypatch.setenv("DYT_BENCH_DATA", str(folder))
    monkeypatch.setattr("dyt_images.files.FASHION_MNIST_INSTALLED", folder / "none")
    return folder


@pytest.fixture
def task():
    def build(**changes):
        fields = {
            "domain": "diffusion",
            "model": "dit",
            "dataset": "digits",
            "steps": 20,
            "batch_size": 16,
            "learning_rate": 4e-3,
            "val_every": 10,
        }
        return Task(**fields | changes)

    return build


@pytest.fixture
def save_images():
    return layouts.save_images


@pytest.fixture
def imagenet(tmp_path, save_images):
    """Two classes of noise in ImageNet's layout, and a tiny autoencoder of random weights."""
    from diffusers import AutoencoderKL

    generator = np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 2)):
        for name in ("n01", "n02"):
            save_images(tmp_path / part / name, 0)
            for number in range(count):
                pixels = generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{number}.JPEG")
    torch.manual_seed(0)
    AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=2,
        latent_channels=4,
        mid_block_add_attention=False,
        scaling_factor=0.5,
    ).save_pretrained(tmp_path / "vae")
    return tmp_path
