"""Read Fashion-MNIST: four IDX files, 60,000 images to train on and 10,000 held out."""

from pathlib import Path

from torchvision.datasets import FashionMNIST

from dyt_bench.plugin.domain import DataError
from dyt_images.arrays import Images, ImageSet
from dyt_images.idx import read_idx


def read_fashion_mnist(files: list[Path]) -> ImageSet:
    """All of it.

    Raises:
        DataError: a file is missing, cut off, or does not fit the others.
    """
    named = {file.name: file for file in files}

    def part(name: str) -> Images:
        expected = (f"{name}-images-idx3-ubyte.gz", f"{name}-labels-idx1-ubyte.gz")
        for missing in (each for each in expected if each not in named):
            raise DataError(f"{files[0].parent} holds no {missing}: it is part of Fashion-MNIST")
        images, labels = (read_idx(named[each]) for each in expected)
        if images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
            raise DataError(
                f"{files[0].parent}: {expected[0]} has shape {images.shape}, and {expected[1]} "
                f"{labels.shape}: expected (N, 28, 28) and (N,)"
            )
        return Images(images[:, None], labels.tolist())

    return ImageSet(part("train"), part("t10k"), list(FashionMNIST.classes))
