"""Which files an image set is read from. No torch."""

from collections.abc import Iterable
from pathlib import Path

from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.fetch import cache, need
from dyt_bench.plugin.files import files_below, package_file

# What torchvision's ImageFolder opens, so that the files listed are the files read.
IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
FASHION_MNIST_INSTALLED = Path("/usr/share/datasets/fashion-mnist")  # by Debian's package
_CIFAR = "cifar-10-batches-py"  # the folder in the archive


def digits(path: Path | None) -> list[Path]:
    """The table that scikit-learn carries."""
    return [package_file("sklearn", "datasets/data/digits.csv.gz")]


def mnist_5k(domain: str, path: Path | None) -> list[Path]:
    """The table, as it was fetched."""
    return _fetched(domain, "mnist-5k", ["mnist_5k.csv.gz"])


def fashion_mnist(domain: str, path: Path | None) -> list[Path]:
    """Four files, of the system's package or as they were fetched."""
    return _fetched(domain, "fashion-mnist", ["*-ubyte.gz"], [FASHION_MNIST_INSTALLED])


def cifar10(domain: str, path: Path | None) -> list[Path]:
    """Six batches and the names of the classes, in ``path`` or as they were fetched.

    Raises:
        DataError: ``path`` does not hold them.
    """
    patterns = [f"{_CIFAR}/*_batch*", f"{_CIFAR}/batches.meta"]
    if path is None:
        return _fetched(domain, "cifar10", patterns)
    files = sorted(file for pattern in patterns for file in path.glob(pattern))
    if not files:
        raise DataError(f"{path} holds no {_CIFAR}: unpack CIFAR-10's Python version there")
    return files


def imagenet(path: Path | None) -> list[Path]:
    """Every image in ``path``.

    Raises:
        DataError: it has no images, no folder ``train`` or no folder ``val``.
    """
    files = files_below(path, IMAGE_SUFFIXES, "train/CLASS/IMAGE.JPEG and val/CLASS/IMAGE.JPEG")
    assert path is not None  # or `files_below` has raised
    for part in ("train", "val"):
        if not (path / part).is_dir():
            raise DataError(f"{path} has no folder {part}: expected train/CLASS and val/CLASS")
    return files


def folder(path: Path | None) -> list[Path]:
    """Every image in ``path``."""
    return files_below(path, IMAGE_SUFFIXES, "CLASS/IMAGE.png")


def _fetched(
    domain: str, name: str, patterns: Iterable[str], system: Iterable[Path] = ()
) -> list[Path]:
    """The files of ``domain/name``; what another domain has fetched under this name serves too."""
    others = sorted(cache().glob(f"*/{name}"))
    return need(f"{domain}/{name}", patterns, system=[*system, *others])
