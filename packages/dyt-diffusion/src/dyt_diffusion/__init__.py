"""Class-conditional image generation: diffusers' DiT. The domain object, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dyt_bench.cell import Task
from dyt_bench.domain import Dataset, Domain, Metric, Model, Training
from dyt_bench.sources import files_below, package_file

if TYPE_CHECKING:
    from dyt_diffusion.data import ImageData
    from dyt_diffusion.module import Denoiser

# What torchvision's ImageFolder opens, so that the files listed are the files read.
IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def _digits(path: Path | None) -> list[Path]:
    return [package_file("sklearn", "datasets/data/digits.csv.gz")]


def _folder(path: Path | None) -> list[Path]:
    return files_below(path, IMAGE_SUFFIXES, "CLASS/IMAGE.png")


class Diffusion(Domain):
    name = "diffusion"
    summary = "class-conditional image generation"
    unit = "image"
    metric = Metric(name="val/loss", mode="min", title="denoising loss (MSE)", margin=0.005)
    preload = ("dyt_diffusion.data", "dyt_diffusion.module")
    models = {
        "dit": Model(
            summary="DiT, 4 layers of 128, 64 tokens",
            library="diffusers",
            native_norm="LayerNorm",
            steps=160,
            batch_size=16,
            learning_rate=4e-3,
        ),
    }
    trainings = {
        "default": Training(
            summary="DiT's AdamW without weight decay, with warm-up and cosine decay for few steps",
            source="arXiv 2212.09748, section 4",
            weight_decay=0.0,
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
        from dyt_diffusion.data import image_data

        return image_data(task)

    def build_module(self, task: Task, data: ImageData) -> Denoiser:  # type: ignore[override]
        from dyt_diffusion.module import Denoiser

        return Denoiser(task, data, self.training(task))


domain = Diffusion()
