"""Which files an image set is read from. No torch."""

from collections.abc import Iterable
from pathlib import Path

from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.fetch import cache, need
from dyt_bench.plugin.files import files_below, matching, package_file

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
    files = matching(path, patterns)
    if not files:
        raise DataError(f"{path} holds no {_CIFAR}: unpack CIFAR-10's Python version there")
    return files


def imagenet(path: Path | None) -> list[Path]:
    """The images in the class folders of ``path/train`` and ``path/val``.

    Raises:
        DataError: there are none, no folder ``train`` or no folder ``val``.
    """
    found = files_below(path, IMAGE_SUFFIXES, "train/CLASS/IMAGE.JPEG and val/CLASS/IMAGE.JPEG")
    assert path is not None  # or `files_below` has raised
    parts = path / "train", path / "val"
    for part in parts:
        if not part.is_dir():
            raise DataError(f"{path} has no folder {part.name}: expected train/CLASS and val/CLASS")
    return [file for part in parts for file in _in_classes(found, part)]


def folder(path: Path | None) -> list[Path]:
    """The images in the class folders of ``path``; one that lies beside them has no class.

    Raises:
        DataError: there are none.
    """
    found = files_below(path, IMAGE_SUFFIXES, "CLASS/IMAGE.png")
    assert path is not None  # or `files_below` has raised
    return _in_classes(found, path)


def _in_classes(files: Iterable[Path], path: Path) -> list[Path]:
    """Those of the files that are ``path/CLASS/IMAGE``, at any depth below CLASS."""
    found = [f for f in files if f.is_relative_to(path) and len(f.relative_to(path).parts) > 1]
    if not found:
        raise DataError(f"{path} has no class: put each class's images into a folder of its own")
    return found


def _fetched(
    domain: str, name: str, patterns: Iterable[str], system: Iterable[Path] = ()
) -> list[Path]:
    """The files of ``domain/name``; what another domain has fetched under this name serves too."""
    others = sorted(cache().glob(f"*/{name}"))
    return need(f"{domain}/{name}", patterns, system=[*system, *others])
