"""ViT and ConvNeXt on the digits: split, sites, learning."""

import subprocess
import sys

import pytest
import torch
from PIL import Image

import dyt
from dyt_bench.cell import Task
from dyt_bench.errors import DataError
from dyt_vision import domain
from dyt_vision.models import MODELS


def task(**changes):
    fields = {
        "domain": "vision",
        "model": "convnext",
        "dataset": "digits",
        "steps": 10,
        "batch_size": 16,
        "learning_rate": 2e-3,
        "val_every": 5,
    }
    return Task(**fields | changes)


def test_importing_the_domain_is_cheap():
    script = "import sys, dyt_vision; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_digits_are_split_without_overlap_and_with_every_class():
    data = domain.build_data(task())
    train, val = set(data.train.indices), set(data.val.indices)
    assert not train & val
    assert len(train) + len(val) == 1797
    labels = torch.cat([y for _, y in data.val_dataloader()])
    assert labels.bincount().tolist() == pytest.approx([36] * 10, abs=1)


def test_images_are_in_range():
    images, labels = next(iter(domain.build_data(task()).train_dataloader()))
    assert images.shape == (16, 1, 32, 32)
    assert images.min() >= -1
    assert images.max() <= 1
    assert labels.dtype == torch.int64


def test_the_seed_decides_the_batches():
    def first(seed):
        return next(iter(domain.build_data(task(seed=seed)).train_dataloader()))[1]

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


@pytest.mark.parametrize(("model", "norms"), [("vit", 13), ("convnext", 16)])
def test_every_norm_is_swapped_and_the_model_still_computes(model, norms):
    module = domain.build_module(task(model=model), domain.build_data(task()))
    dyt.convert(module, exclude=domain.models[model].exclude)
    swapped = [m for m in module.modules() if isinstance(m, dyt.DynamicTanh)]
    assert len(swapped) == norms
    assert module(torch.randn(2, 1, 32, 32)).shape == (2, 10)


def test_loss_falls_on_the_digits():
    torch.manual_seed(0)
    data = domain.build_data(task())
    module = domain.build_module(task(), data)
    module.log = lambda *a, **k: None
    optimizer = module.configure_optimizers()["optimizer"]
    losses = []
    for batch in list(data.train_dataloader())[:30]:
        loss = module.training_step(batch, 0)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_models_take_any_channels_and_classes():
    for build in MODELS.values():
        assert build(3, 2)(torch.randn(1, 3, 32, 32)).shape == (1, 2)


def test_a_folder_of_ones_own(tmp_path):
    for label, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        (tmp_path / label).mkdir()
        for number in range(10):
            Image.new("RGB", (40, 50), colour).save(tmp_path / label / f"{number}.png")
    data = domain.build_data(task(dataset="folder", path=tmp_path, batch_size=4))
    images, _ = next(iter(data.train_dataloader()))
    assert images.shape == (4, 3, 32, 32)
    assert (data.channels, data.classes) == (3, 2)


def test_a_folder_without_classes_is_named(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "stray.png")
    with pytest.raises(DataError, match="put each class's images into a folder of its own"):
        domain.build_data(task(dataset="folder", path=tmp_path))
