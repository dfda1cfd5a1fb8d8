"""Class-conditional image generation: diffusers' DiT. The domain object, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dyt_bench.plugin.domain import Domain, Metric
from dyt_bench.plugin.task import Task
from dyt_diffusion.catalog import DATASETS, MODELS
from dyt_diffusion.recipes import TRAININGS

if TYPE_CHECKING:
    from dyt_diffusion.data import ImageData
    from dyt_diffusion.module import Denoiser


class Diffusion(Domain):
    name = "diffusion"
    summary = "class-conditional image generation"
    unit = "image"
    metric = Metric(
        name="val/loss",
        mode="min",
        title="denoising loss (MSE)",
        margin=0.005,
        reference="best linear denoiser of each pixel alone",
    )
    preload = ("dyt_diffusion.data", "dyt_diffusion.module", "dyt_diffusion.evaluation")
    models = MODELS
    trainings = TRAININGS
    datasets = DATASETS

    def build_data(self, task: Task) -> ImageData:
        from dyt_diffusion.data import image_data

        return image_data(task, self.training(task))

    def build_module(self, task: Task, data: ImageData) -> Denoiser:  # type: ignore[override]
        from dyt_diffusion.module import Denoiser

        return Denoiser(task, data, self.training(task))

    def reference_score(self, task: Task, data: ImageData) -> float:  # type: ignore[override]
        from dyt_diffusion.baseline import linear_denoising_loss

        return linear_denoising_loss(data)

    def evaluate(  # type: ignore[override]
        self, task: Task, module: Denoiser, data: ImageData, folder: Path
    ) -> Mapping[str, float]:
        from dyt_diffusion.evaluation import evaluate

        return evaluate(module, data, folder, self.training(task))


domain = Diffusion()
