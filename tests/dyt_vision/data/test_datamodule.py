"""Images for classification: split, order, sizes, and what is wrong with a folder."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.dyt_images.layouts import (
    lay_out_cifar,
    lay_out_fashion,
    lay_out_mnist,
    paint,
    save_images,
)

from dyt_bench.errors import DataError
from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.fetch import fetched_folder
from dyt_bench.plugin.notices import collected
from dyt_vision import domain
from dyt_vision.tasks import build_data

PLAIN = TrainingPreset(summary="nothing special")


def test_digits_are_split_without_overlap_and_with_every_class(task):
    data = domain.build_data(task())
    train, val = set(data.train.indices), set(data.val.indices)
    assert not train & val
    assert len(train) + len(val) == 1797
    labels = torch.cat([y for _, y in data.val_dataloader()])
    assert labels.bincount().tolist() == pytest.approx([36] * 10, abs=1)
    assert labels.tolist() == data.labels[1]


def test_images_are_in_range(task):
    images, labels = next(iter(domain.build_data(task()).train_dataloader()))
    assert images.shape == (16, 1, 8, 8)
    assert images.min() >= -1
    assert images.max() <= 1
    assert labels.dtype == torch.int64


def test_the_seed_decides_the_batches(task):
    def first(seed):
        return next(iter(domain.build_data(task(seed=seed)).train_dataloader()))[1]

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


def test_a_data_budget_is_a_part_of_the_training_set_whatever_the_seed(task):
    whole = domain.build_data(task())
    few, other = (domain.build_data(task(train_samples=100, seed=seed)) for seed in (0, 1))
    assert len(few.train) == 100
    assert few.train.indices == other.train.indices
    assert len(few.val) == len(whole.val)


def test_mnist_keeps_its_own_size(task, cache):
    rows = lay_out_mnist(fetched_folder("vision/mnist-5k"))
    data = domain.build_data(task(dataset="mnist-5k"))
    assert (len(data.train), len(data.val), data.channels, data.classes) == (40, 10, 1, 10)
    assert data.pixels == 28
    image, label = data.val[0]
    pixels = ((image[0] + 1) * 127.5).round().flatten().tolist()
    assert [*pixels, label] in rows.tolist()


def test_fashion_mnist_keeps_its_own_split(task, cache):
    lay_out_fashion(fetched_folder("vision/fashion-mnist"))
    data = domain.build_data(task(dataset="fashion-mnist"))
    images, labels = next(iter(data.val_dataloader()))
    assert images.shape == (10, 1, 28, 28)
    assert labels.tolist() == list(range(10)) == data.labels[1]
    assert images[7].eq(7 / 127.5 - 1).all()


def test_cifar10_is_in_colour(task, tmp_path, monkeypatch):
    lay_out_cifar(tmp_path)
    given = task(dataset="cifar10", path=tmp_path)
    with pytest.raises(DataError, match="does not hold CIFAR-10 as it was published"):
        domain.build_data(given)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    data = domain.build_data(given)
    assert (len(data.train), len(data.val), data.channels, data.classes) == (50, 10, 3, 10)
    image, label = data.val[0]
    assert image.mean((1, 2)).tolist() == pytest.approx([-1, 1 / 255, 1], abs=1e-5)
    assert label == 5


def test_a_folder_of_ones_own(task, tmp_path):
    paint(tmp_path, 10)
    data = domain.build_data(task(dataset="folder", path=tmp_path, batch_size=4))
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (4, 3, 32, 32)
    assert (data.channels, data.classes) == (3, 2)
    for image, label in zip(images, labels, strict=True):
        blue, red = torch.tensor([-1.0, -1.0, 1.0]), torch.tensor([1.0, -1.0, -1.0])
        assert torch.equal(image[:, 9, 9], red if label else blue)


def test_imagenet_s_layout_in_memory(task, tmp_path):
    paint(tmp_path / "train", 4)
    paint(tmp_path / "val", 2)
    data = domain.build_data(task(dataset="imagenet", path=tmp_path, batch_size=4))
    assert (len(data.train), len(data.val), data.num_workers) == (8, 4, 0)
    assert data.labels == ([0] * 4 + [1] * 4, [0, 0, 1, 1])


def test_imagenet_s_layout_at_the_papers_size_with_its_augmentation(task, tmp_path):
    paint(tmp_path / "train", 4, size=(300, 260))
    paint(tmp_path / "val", 2, size=(300, 260))
    chosen = task(dataset="imagenet", model="vit-tiny", path=tmp_path, batch_size=2)
    data = build_data(chosen, domain.trainings["imagenet"])
    assert data.num_workers > 0
    data.num_workers = 0
    assert (len(data.train), len(data.val)) == (8, 4)
    images, labels = next(iter(data.val_dataloader()))
    assert images.shape == (2, 3, 224, 224)
    blue = [-0.485 / 0.229, -0.456 / 0.224, (1 - 0.406) / 0.225]  # by ImageNet's mean and deviation
    assert images[0, :, 100, 100].tolist() == pytest.approx(blue)
    assert labels.tolist() == [0, 0]
    assert next(iter(data.train_dataloader()))[0].shape == (2, 3, 224, 224)


def test_the_large_models_read_a_folder_of_ones_own_as_well(task, tmp_path):
    paint(tmp_path, 6)
    chosen = task(dataset="folder", model="vit-tiny", path=tmp_path, batch_size=2)
    data = build_data(chosen, PLAIN)
    assert len(data.train) + len(data.val) == 12
    assert set(data.train.indices).isdisjoint(data.val.indices)


def test_a_folder_without_classes_is_named(task, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "stray.png")
    with pytest.raises(DataError, match="put each class's images into a folder of its own"):
        domain.build_data(task(dataset="folder", path=tmp_path))


@pytest.mark.parametrize("model", ["convnext", "vit-tiny"])
def test_a_corrupt_image_is_named(task, tmp_path, model):
    paint(tmp_path, 5)
    bad = tmp_path / "red" / "3.png"
    bad.write_bytes(bad.read_bytes()[:60])
    with pytest.raises(DataError, match=r"red/3\.png cannot be read as an image: .*fix or remove"):
        build_data(task(dataset="folder", path=tmp_path, model=model), PLAIN)


@pytest.mark.parametrize("model", ["convnext", "vit-tiny"])
def test_an_image_of_sixteen_bits_is_named(task, tmp_path, model):
    paint(tmp_path, 5)
    Image.fromarray(np.full((9, 9), 1000, np.uint16)).save(tmp_path / "blue" / "0.png")
    with pytest.raises(DataError, match=r"blue/0\.png has more than 8 bits a colour"):
        build_data(task(dataset="folder", path=tmp_path, model=model), PLAIN)


def test_a_png_with_a_wrong_checksum_is_named(task, tmp_path):
    paint(tmp_path, 5)
    bad = tmp_path / "blue" / "1.png"
    content = bytearray(bad.read_bytes())
    content[content.index(b"IDAT") + 6] ^= 0xFF
    bad.write_bytes(content)
    with pytest.raises(DataError, match=r"blue/1\.png"):
        build_data(task(dataset="folder", path=tmp_path, model="vit-tiny"), PLAIN)


def test_a_class_with_one_image_is_named(task, tmp_path):
    paint(tmp_path, 6)
    (tmp_path / "green").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "green" / "0.png")
    with pytest.raises(DataError, match="class 'green' has 1 image: expected at least 2"):
        domain.build_data(task(dataset="folder", path=tmp_path))


def test_classes_of_train_and_val_must_be_the_same(task, tmp_path):
    paint(tmp_path / "train", 2)
    paint(tmp_path / "val", 2)
    (tmp_path / "val" / "blue").rename(tmp_path / "val" / "azure")
    with pytest.raises(DataError, match="the same classes, and 'azure' is in one alone"):
        domain.build_data(task(dataset="imagenet", path=tmp_path))


def test_one_class_is_refused(task, tmp_path):
    save_images(tmp_path / "blue", 12)
    with pytest.raises(DataError, match=r"one class alone, 'blue': expected two or more"):
        domain.build_data(task(dataset="folder", path=tmp_path, batch_size=4))


@pytest.mark.parametrize("model", ["convnext", "vit-tiny"])
def test_images_that_cannot_be_read_are_left_out_where_that_is_asked_for(task, tmp_path, model):
    paint(tmp_path, 10)
    for number in range(3):
        (tmp_path / "red" / f"{number}.png").write_bytes(b"no image")
    given = task(dataset="folder", path=tmp_path, model=model, batch_size=4)
    with pytest.raises(DataError, match=r"3 of 20 files cannot be read; .*`skip_bad_files: true`"):
        build_data(given, PLAIN)
    with collected() as notices:
        data = build_data(replace(given, skip_bad_files=True), PLAIN)
    assert len(data.train) + len(data.val) == 17
    assert "3 of 20 files cannot be read and are left out" in notices.sentences()[0]


def test_less_than_a_batch_is_an_error(task, tmp_path):
    paint(tmp_path, 6)
    with pytest.raises(DataError, match="batch_size must be at most the train set's 9 samples"):
        domain.build_data(task(dataset="folder", path=tmp_path, batch_size=10))
