"""Image classification: timm's ViT and ConvNeXt. The domain object, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dyt_bench.cell import Task
from dyt_bench.domain import Dataset, Domain, Metric, Model
from dyt_bench.sources import files_below, package_file

if TYPE_CHECKING:
    from dyt_vision.data import ImageData
    from dyt_vision.module import Classifier


# What torchvision's ImageFolder reads, so that the digest covers every file it uses.
IMAGES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}


def _digits(path: Path | None) -> list[Path]:
    return [package_file("sklearn", "datasets/data/digits.csv.gz")]


def _folder(path: Path | None) -> list[Path]:
    return files_below(path, IMAGES, "CLASS/IMAGE.png")


class Vision(Domain):
    name = "vision"
    summary = "image classification"
    unit = "image"
    metric = Metric(name="val/acc", mode="max", title="top-1 accuracy", margin=0.01)
    preload = ("dyt_vision.data", "dyt_vision.module")
    models = {
        "vit": Model(
            summary="ViT, 6 layers of 96, patches of 4 on 32x32, mean-pooled",
            library="timm",
            native_norm="LayerNorm",
            steps=150,
            batch_size=32,
            learning_rate=1e-3,
        ),
        "convnext": Model(
            summary="ConvNeXt, widths 16-32-64-128, patches of 2 on 32x32",
            library="timm",
            native_norm="LayerNorm",
            steps=150,
            batch_size=32,
            learning_rate=2e-3,
        ),
    }
    datasets = {
        "digits": Dataset(
            summary="1,797 scanned hand-written digits, 8x8, 10 classes",
            source="scikit-learn, load_digits (UCI optical recognition of handwritten digits)",
            licence="BSD-3-Clause; data CC BY 4.0",
            files=_digits,
        ),
        "folder": Dataset(
            summary="your images, one folder a class",
            source="path: a folder laid out as torchvision's ImageFolder",
            licence="yours",
            files=_folder,
            takes_path=True,
        ),
    }

    def build_data(self, task: Task) -> ImageData:
        from dyt_vision.data import image_data

        return image_data(task)

    def build_module(self, task: Task, data: ImageData) -> Classifier:  # type: ignore[override]
        from dyt_vision.module import Classifier

        return Classifier(task, data, self.training(task))


domain = Vision()
