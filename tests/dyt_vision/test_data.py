"""Images: split, order, the usual data sets' layouts, and what is no image."""

import gzip
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from dyt_bench.errors import DataError
from dyt_bench.plugin.domain import TrainingPreset
from dyt_vision import domain
from dyt_vision.data import image_data
from dyt_vision.memory import fit, read_idx

PLAIN = TrainingPreset(summary="nothing special")


def paint(folder, count, *, size=(40, 50)):
    """Images of two classes, red and blue."""
    for label, colour in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", size, colour).save(folder / label / f"{number}.png")


def test_digits_are_split_without_overlap_and_with_every_class(task):
    data = domain.build_data(task())
    train, val = set(data.train.indices), set(data.val.indices)
    assert not train & val
    assert len(train) + len(val) == 1797
    labels = torch.cat([y for _, y in data.val_dataloader()])
    assert labels.bincount().tolist() == pytest.approx([36] * 10, abs=1)
    assert labels.tolist() == data.targets[1]


def test_images_are_in_range(task):
    images, labels = next(iter(domain.build_data(task()).train_dataloader()))
    assert images.shape == (16, 1, 32, 32)
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


def test_the_baseline_is_the_majority_class(task):
    data = domain.build_data(task())
    assert domain.reference_score(task(), data) == pytest.approx(0.1, abs=0.01)


def test_fashion_mnist_as_debian_lays_it_out(task, tmp_path, monkeypatch):
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path))
    folder = tmp_path / "vision" / "fashion-mnist"
    folder.mkdir(parents=True)
    for part, count in (("train", 32), ("t10k", 8)):
        pixels = np.full((count, 28, 28), 255, np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        for name, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            file = folder / f"{part}-{name}-ubyte.gz"
            file.write_bytes(gzip.compress(head + array.tobytes()))
    data = domain.build_data(task(dataset="fashion-mnist"))
    images, labels = next(iter(data.val_dataloader()))
    assert images.shape == (8, 1, 32, 32)
    assert labels.tolist() == list(range(8))
    assert images[0, 0, 2:30, 2:30].eq(1).all()
    assert images[0, 0, :2].eq(-1).all()  # the frame


def test_a_cut_off_idx_file_is_named(tmp_path):
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, 10) + bytes(3)))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is not in IDX format"):
        read_idx(file)
    file.write_bytes(b"no gzip")
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is not in IDX format"):
        read_idx(file)


def test_what_is_not_on_the_machine_says_how_to_get_it(task, tmp_path, monkeypatch):
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path))
    with pytest.raises(DataError, match="`dyt-bench data fetch vision/mnist-5k`"):
        list(domain.datasets["mnist-5k"].files(None))


def test_images_are_framed_or_resampled():
    images = torch.full((1, 1, 28, 28), 200, dtype=torch.uint8)
    framed = fit(images, 32)
    assert torch.equal(framed[..., 2:30, 2:30], images)
    assert framed[..., 0].eq(0).all()
    assert fit(images, 64).float().mean() == 200


def test_a_folder_of_ones_own(task, tmp_path):
    paint(tmp_path, 10)
    data = domain.build_data(task(dataset="folder", path=tmp_path, batch_size=4))
    images, _ = next(iter(data.train_dataloader()))
    assert images.shape == (4, 3, 32, 32)
    assert (data.channels, data.classes) == (3, 2)


def test_imagenet_s_layout_at_the_papers_size_with_its_augmentation(task, tmp_path):
    paint(tmp_path / "train", 4, size=(300, 260))
    paint(tmp_path / "val", 2, size=(300, 260))
    chosen = task(dataset="imagenet", model="vit-tiny", path=tmp_path, batch_size=2)
    data = image_data(chosen, domain.trainings["imagenet"])
    data.num_workers = 0
    assert (len(data.train), len(data.val)) == (8, 4)
    images, labels = next(iter(data.val_dataloader()))
    assert images.shape == (2, 3, 224, 224)
    assert images[0, :, 100, 100].tolist() == [-1, -1, 1]  # blue, untouched
    assert labels.tolist() == [0, 0]
    assert next(iter(data.train_dataloader()))[0].shape == (2, 3, 224, 224)


def test_the_large_models_read_a_folder_of_ones_own_as_well(task, tmp_path):
    paint(tmp_path, 6)
    chosen = task(dataset="folder", model="vit-tiny", path=tmp_path, batch_size=2)
    data = image_data(chosen, PLAIN)
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
    with pytest.raises(DataError, match=r"red/3\.png .*image.*: mend or remove it"):
        image_data(task(dataset="folder", path=tmp_path, model=model), PLAIN)


def test_a_png_with_a_wrong_checksum_is_named(task, tmp_path):
    paint(tmp_path, 5)
    bad = tmp_path / "blue" / "1.png"
    content = bytearray(bad.read_bytes())
    content[content.index(b"IDAT") + 6] ^= 0xFF
    bad.write_bytes(content)
    with pytest.raises(DataError, match=r"blue/1\.png"):
        image_data(task(dataset="folder", path=tmp_path, model="vit-tiny"), PLAIN)


def test_a_class_with_one_image_is_named(task, tmp_path):
    paint(tmp_path, 6)
    (tmp_path / "green").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "green" / "0.png")
    with pytest.raises(DataError, match="class 'green' has 1 image"):
        domain.build_data(task(dataset="folder", path=tmp_path))


def test_classes_of_train_and_val_must_be_the_same(task, tmp_path):
    paint(tmp_path / "train", 2)
    paint(tmp_path / "val", 2)
    (tmp_path / "val" / "blue").rename(tmp_path / "val" / "azure")
    with pytest.raises(DataError, match="class 'azure' is in one of train and val alone"):
        domain.build_data(task(dataset="imagenet", path=tmp_path))


def test_less_than_a_batch_is_an_error(task, tmp_path):
    paint(tmp_path, 6)
    with pytest.raises(DataError, match="batch_size must be at most the train set's 9 samples"):
        domain.build_data(task(dataset="folder", path=tmp_path, batch_size=10))
