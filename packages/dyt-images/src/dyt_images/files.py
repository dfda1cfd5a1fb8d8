"""Which files an image set is read from. No torch."""

from collections.abc import Iterable
from pathlib import Path

from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.fetch import cache, need
from dyt_bench.plugin.files import files_below, matching, package_file

# What Pillow decodes by itself; a test compares them.
IMAGE_SUFFIXES = {
    *(".apng", ".avif", ".avifs", ".bmp", ".bw", ".dcx", ".dds", ".dib", ".gif", ".icb", ".j2c"),
    *(".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".pbm", ".pcx"),
    *(".pfm", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".qoi", ".ras", ".rgb", ".rgba", ".sgi"),
    *(".tga", ".tif", ".tiff", ".vda", ".vst", ".webp", ".xbm", ".xpm"),
}
# Which classes the images of ImageNet's flat val/ have: `dyt_images.ground_truth` reads them.
GROUND_TRUTH = (
    "ILSVRC2012_validation_ground_truth.txt",  # and the next, of the development kit
    "meta.mat",
    "LOC_val_solution.csv",  # of Kaggle
    "imagenet_2012_validation_synset_labels.txt",  # of TensorFlow
    "val_annotations.txt",
    "val_map.txt",
    "val.txt",
)
_KAGGLE = "ILSVRC/Data/CLS-LOC"  # the folder of train and val in Kaggle's archive
_DEVELOPMENT_KIT = "ILSVRC2012_devkit_t12/data"
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
    """The images in ``train`` and ``val``, and the files that say which classes those in val have.

    Raises:
        DataError: it has no images, no folder ``train`` or no folder ``val``.
    """
    layout = "train/CLASS/IMAGE.JPEG and val/CLASS/IMAGE.JPEG"
    if path is None or not path.is_dir():
        return files_below(path, IMAGE_SUFFIXES, layout)  # says what is wrong
    root = imagenet_root(path)
    for part in ("train", "val"):
        if not (root / part).is_dir():
            raise DataError(f"{path} has no folder {part}: expected train/CLASS and val/CLASS")
    listed = IMAGE_SUFFIXES | {name.lower() for name in GROUND_TRUTH}
    files = [file for part in ("train", "val") for file in files_below(root / part, listed, layout)]
    places = dict.fromkeys((path, root, path / _DEVELOPMENT_KIT))
    truth = [place / name for place in places for name in GROUND_TRUTH]
    return [*files, *(file for file in truth if file.is_file())]


def imagenet_root(path: Path) -> Path:
    """The folder of ``train`` and ``val``: the path, or a folder of Kaggle's archive in it."""
    return path / _KAGGLE if (path / _KAGGLE).is_dir() else path


def folder(path: Path | None) -> list[Path]:
    """Every image in ``path``."""
    return files_below(path, IMAGE_SUFFIXES, "CLASS/IMAGE.png")


def _fetched(
    domain: str, name: str, patterns: Iterable[str], system: Iterable[Path] = ()
) -> list[Path]:
    """The files of ``domain/name``; what another domain has fetched under this name serves too."""
    others = sorted(cache().glob(f"*/{name}"))
    return need(f"{domain}/{name}", patterns, system=[*system, *others])
