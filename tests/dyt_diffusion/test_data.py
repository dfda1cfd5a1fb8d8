"""The digits and a folder of the user's: split, range, order, and what is wrong with them."""

import pytest
import torch
from PIL import Image

from dyt_bench.errors import DataError
from dyt_diffusion import domain


def batches(data):
    return next(iter(data.train_dataloader())), list(data.val_dataloader())


def save_images(folder, count, colour=(0, 0, 255)):
    folder.mkdir()
    for number in range(count):
        Image.new("RGB", (40, 50), colour).save(folder / f"{number}.png")


def test_digits_are_split_without_overlap_and_with_every_class(task):
    data = domain.build_data(task())
    train, val = set(data.train.indices), set(data.val.indices)
    assert not train & val
    assert len(train) + len(val) == 1797
    labels = torch.cat([y for _, y in data.val_dataloader()])
    assert labels.bincount().tolist() == pytest.approx([36] * 10, abs=1)


def test_digits_fill_the_range(task):
    images, labels = batches(domain.build_data(task()))[0]
    assert images.shape == (16, 1, 8, 8)
    assert images.dtype == torch.float32
    assert (images.min(), images.max()) == (-1, 1)
    assert labels.dtype == torch.int64


def test_the_seed_decides_the_order_of_training_and_nothing_else(task):
    (train, labels), val = batches(domain.build_data(task(seed=0)))
    (again, labels_again), _ = batches(domain.build_data(task(seed=0)))
    (other, _), val_other = batches(domain.build_data(task(seed=1)))
    assert torch.equal(train, again)
    assert torch.equal(labels, labels_again)
    assert not torch.equal(train, other)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(val, val_other, strict=True))


def test_the_files_listed_are_the_files_read(task, tmp_path):
    (digits,) = domain.datasets["digits"].files(None)
    assert digits.is_file()
    save_images(tmp_path / "blue", 10)
    save_images(tmp_path / "red", 10)
    for index, suffix in enumerate(("JPG", "bmp", "pgm", "ppm", "tif", "tiff", "webp", "jpeg")):
        Image.new("L", (9, 9)).save(tmp_path / "blue" / f"{index}-more.{suffix}")
    (tmp_path / "notes.txt").write_text("no image")
    data = domain.build_data(task(dataset="folder", path=tmp_path, batch_size=4))
    assert len(domain.datasets["folder"].files(tmp_path)) == len(data.train) + len(data.val) == 28


def test_a_folder_of_ones_own(task, tmp_path):
    save_images(tmp_path / "blue", 10, (0, 0, 255))
    save_images(tmp_path / "red", 10, (255, 0, 0))
    data = domain.build_data(task(dataset="folder", path=tmp_path, batch_size=4))
    assert (data.channels, data.size, data.classes) == (3, 16, 2)
    (images, labels), val = batches(data)
    assert images.shape == (4, 3, 16, 16)
    for image, label in zip(images, labels, strict=True):
        blue, red = torch.tensor([-1.0, -1.0, 1.0]), torch.tensor([1.0, -1.0, -1.0])
        assert torch.equal(image.mean((1, 2)), red if label else blue)
    assert sorted(torch.cat([labels for _, labels in val]).tolist()) == [0, 0, 1, 1]


def test_a_folder_without_classes_is_named(task, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "stray.png")
    with pytest.raises(DataError, match="put each class's images into a folder of its own"):
        domain.build_data(task(dataset="folder", path=tmp_path))
    with pytest.raises(DataError, match="put each class's images into a folder of its own"):
        domain.build_data(task(dataset="folder", path=tmp_path / "stray.png"))


def test_a_class_too_small_to_hold_one_out_is_named(task, tmp_path):
    save_images(tmp_path / "blue", 20)
    save_images(tmp_path / "red", 4)
    with pytest.raises(DataError, match="red holds 4 images: every class needs 5 or more"):
        domain.build_data(task(dataset="folder", path=tmp_path))


@pytest.mark.parametrize("keep", [0, 60])
def test_what_is_no_image_is_named(task, tmp_path, keep):
    save_images(tmp_path / "blue", 5)
    broken = tmp_path / "blue" / "0.png"
    broken.write_bytes(broken.read_bytes()[:keep])
    data = domain.build_data(task(dataset="folder", path=tmp_path, batch_size=4))
    with pytest.raises(DataError, match=r"0\.png cannot be read as an image"):
        batches(data)


def test_no_folder_at_all_is_named():
    with pytest.raises(DataError, match=r"CLASS/IMAGE\.png"):
        domain.datasets["folder"].files(None)
