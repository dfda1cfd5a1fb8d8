"""The domain `diffusion`: class-conditional image generation with diffusers' DiT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dyt_bench.plugin.domain import Domain, Metric, Reference
from dyt_bench.plugin.task import Task
from dyt_diffusion.catalog import DATASETS, MODELS, TRAININGS

if TYPE_CHECKING:
    from dyt_diffusion.data.datamodule import DiffusionData
    from dyt_diffusion.module import Denoiser


class Diffusion(Domain):
    api_version = 2  # of the contract that this is written for
    name = "diffusion"
    summary = "class-conditional image generation"
    unit = "image"
    metric = Metric(
        name="val/loss",
        mode="min",
        title="denoising loss (MSE)",
        margin=0.005,
        reference="best linear denoiser of a pixel alone",
    )
    preload = ("dyt_diffusion.tasks", "dyt_diffusion.evaluation")
    models = MODELS
    trainings = TRAININGS
    datasets = DATASETS

    def build_data(self, task: Task) -> DiffusionData:
        from dyt_diffusion.tasks import build_data

        return build_data(task, self.training(task))

    def build_module(self, task: Task, data: DiffusionData) -> Denoiser:  # type: ignore[override]
        from dyt_diffusion.tasks import build_module

        return build_module(task, data, self.training(task))

    def references(  # type: ignore[override]
        self, task: Task, data: DiffusionData
    ) -> Sequence[Reference]:
        from dyt_diffusion.reference import references

        return references(data)

    def evaluate(  # type: ignore[override]
        self, task: Task, module: Denoiser, data: DiffusionData, folder: Path
    ) -> Mapping[str, float]:
        from dyt_diffusion.evaluation import evaluate

        return evaluate(module, data, folder, self.training(task))


domain = Diffusion()
