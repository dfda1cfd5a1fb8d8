"""Image classification: timm's ViT and ConvNeXt. The domain object, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dyt_bench.plugin.domain import Domain, Metric
from dyt_bench.plugin.task import Task
from dyt_vision.catalog import DATASETS, MODELS, TRAININGS

if TYPE_CHECKING:
    from dyt_vision.data import ImageData
    from dyt_vision.module import Classifier


class Vision(Domain):
    name = "vision"
    summary = "image classification"
    unit = "image"
    metric = Metric(
        name="val/acc",
        mode="max",
        title="top-1 accuracy",
        margin=0.01,
        reference="always the class that is most frequent in training",
    )
    preload = ("dyt_vision.data", "dyt_vision.module")
    models = MODELS
    trainings = TRAININGS
    datasets = DATASETS

    def build_data(self, task: Task) -> ImageData:
        from dyt_vision.data import image_data

        return image_data(task, self.training(task))

    def build_module(self, task: Task, data: ImageData) -> Classifier:  # type: ignore[override]
        from dyt_vision.module import Classifier

        return Classifier(task, data, self.training(task))

    def reference_score(self, task: Task, data: ImageData) -> float:  # type: ignore[override]
        return data.majority()


domain = Vision()
