"""Readers of the image sets that fit in memory, by name."""

from collections.abc import Callable, Mapping
from pathlib import Path

from dyt_images.arrays import ImageSet
from dyt_images.cifar10 import read_cifar10
from dyt_images.digits import read_digits
from dyt_images.fashion_mnist import read_fashion_mnist
from dyt_images.mnist_5k import read_mnist_5k

# data set -> (its files) -> what they hold
READERS: Mapping[str, Callable[[list[Path]], ImageSet]] = {
    "digits": read_digits,
    "mnist-5k": read_mnist_5k,
    "fashion-mnist": read_fashion_mnist,
    "cifar10": read_cifar10,
}
