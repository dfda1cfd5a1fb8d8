"""Large images as an autoencoder's latents: encoded once, mirrored, drawn, decoded."""

import pytest
import torch
from diffusers import AutoencoderKL

from dyt_bench.errors import DataError
from dyt_diffusion import domain
from dyt_diffusion.data.sets import LATENT_OF
from dyt_images.folders import decode


@pytest.fixture
def data(task, imagenet):
    return domain.build_data(task(dataset="imagenet", path=imagenet, batch_size=4))


def test_latents_are_the_autoencoder_s(data, imagenet):
    assert (data.channels, data.size, data.class_names) == (4, 32, ["n01", "n02"])
    assert (len(data.train), len(data.val)) == (12, 4)
    file = imagenet / "val" / "n01" / "0.JPEG"
    pixels = torch.from_numpy(decode([str(file)], LATENT_OF)).float() / 127.5 - 1
    autoencoder = AutoencoderKL.from_pretrained(imagenet / "vae").eval()
    with torch.no_grad():
        encoded = autoencoder.encode(pixels).latent_dist
        torch.testing.assert_close(data.val[0][0][None], encoded.mean * 0.5, atol=2e-3, rtol=1e-2)
        pictures = data.pictures(data.val[0][0][None])
    assert pictures.shape == (1, 3, LATENT_OF, LATENT_OF)
    assert pictures.min() >= 0
    assert pictures.max() <= 1


def test_training_draws_the_image_or_its_mirror_image(data):
    both = torch.tensor(data.plain.moments[0].tolist())
    (image, mirrored), deviation = both[:, :4] * 0.5, (both[:, 4:] / 2).exp() * 0.5
    torch.testing.assert_close(data.plain[0][0], image)
    torch.manual_seed(0)
    drawn = torch.stack([data.train[0][0] for _ in range(40)])
    near_mirror = (drawn - mirrored).square().mean((1, 2, 3)) < (drawn - image).square().mean(
        (1, 2, 3)
    )
    assert 10 < near_mirror.sum() < 30
    spread = (drawn[~near_mirror] - image) / deviation[0]
    assert spread.std().item() == pytest.approx(1, abs=0.02)


def test_they_are_computed_once(task, imagenet, data, monkeypatch):
    monkeypatch.setattr("dyt_diffusion.data.sets.decode", None)
    again = domain.build_data(task(dataset="imagenet", path=imagenet, batch_size=4))
    assert torch.equal(again.val[0][0], data.val[0][0])


def test_a_step_on_latents_trains(task, data):
    given = task(dataset="imagenet", model="dit", batch_size=4)
    module = domain.build_module(given, data)
    module.log = lambda *_, **__: None
    loss = module.training_step(next(iter(data.train_dataloader())), 0)
    loss.backward()
    assert loss.item() == pytest.approx(1, abs=0.2)
    samples = module.sample(torch.tensor([0, 1]), steps=2)
    assert samples.shape == (2, 4, 32, 32)
    assert samples.abs().max() > 1  # latents are not held within [-1, 1]


def test_no_autoencoder_is_named(task, imagenet):
    (imagenet / "vae" / "config.json").write_text("{}")
    with pytest.raises(DataError, match=r"vae holds no autoencoder \(.*AutoencoderKL"):
        domain.build_data(task(dataset="imagenet", path=imagenet))
    for file in (imagenet / "vae").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="vae holds no autoencoder: save one there"):
        domain.datasets["imagenet"].files(imagenet)


def test_weights_that_do_not_fit_are_named(task, imagenet):
    next((imagenet / "vae").glob("*.safetensors")).write_bytes(b"not weights")
    with pytest.raises(DataError, match=r"vae holds no autoencoder \("):
        domain.build_data(task(dataset="imagenet", path=imagenet))


def test_a_broken_image_is_named_before_training(task, imagenet):
    (imagenet / "train" / "n02" / "3.JPEG").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"n02/3\.JPEG cannot be read as an image"):
        domain.build_data(task(dataset="imagenet", path=imagenet))


def test_classes_that_differ_are_named(task, imagenet):
    (imagenet / "val" / "n02").rename(imagenet / "val" / "n03")
    with pytest.raises(
        DataError, match="train and val must have the same classes, and 'n02' is in one alone"
    ):
        domain.build_data(task(dataset="imagenet", path=imagenet))
