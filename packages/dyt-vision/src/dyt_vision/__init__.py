"""The domain `vision`: image classification with timm's ViT and ConvNeXt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dyt_bench.plugin.domain import Domain, Metric, Reference
from dyt_bench.plugin.task import Task
from dyt_vision.catalog import DATASETS, MODELS, TRAININGS

if TYPE_CHECKING:
    from dyt_vision.data.datamodule import VisionData
    from dyt_vision.module import Classifier


class Vision(Domain):
    api_version = 2  # of the contract that this is written for
    name = "vision"
    summary = "image classification"
    unit = "image"
    metric = Metric(
        name="val/acc",
        mode="max",
        title="top-1 accuracy",
        margin=0.01,
        reference="logistic regression of the pixels",
    )
    preload = ("dyt_vision.tasks",)
    models = MODELS
    trainings = TRAININGS
    datasets = DATASETS

    def build_data(self, task: Task) -> VisionData:
        from dyt_vision.tasks import build_data

        return build_data(task, self.training(task))

    def build_module(self, task: Task, data: VisionData) -> Classifier:  # type: ignore[override]
        from dyt_vision.tasks import build_module

        return build_module(task, data, self.training(task))

    def references(  # type: ignore[override]
        self, task: Task, data: VisionData
    ) -> Sequence[Reference]:
        from dyt_vision.reference import references

        return references(data)


domain = Vision()
