"""The domain `vision-ssl`: image classification after pretraining without labels, MAE and DINO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dyt_bench.plugin.domain import Domain, Metric, Reference
from dyt_bench.plugin.task import Task
from dyt_vision.selfsupervised.catalog import DATASETS, MODELS, TRAININGS

if TYPE_CHECKING:
    from dyt_vision.selfsupervised.data import PhasedImages
    from dyt_vision.selfsupervised.module import SelfSupervised


class SelfSupervisedVision(Domain):
    api_version = 2  # of the contract that this is written for
    name = "vision-ssl"
    summary = "image classification, after pretraining without labels"
    unit = "image"
    metric = Metric(
        name="val/acc",
        mode="max",
        title="top-1 accuracy",
        margin=0.01,
        reference="logistic regression of the pixels",
    )
    preload = ("dyt_vision.selfsupervised.tasks",)
    models = MODELS
    trainings = TRAININGS
    datasets = DATASETS

    def build_data(self, task: Task) -> PhasedImages:
        from dyt_vision.selfsupervised.tasks import build_data

        return build_data(task, self.training(task))

    def build_module(  # type: ignore[override]
        self, task: Task, data: PhasedImages
    ) -> SelfSupervised:
        from dyt_vision.selfsupervised.tasks import build_module

        return build_module(task, data, self.training(task))

    def references(  # type: ignore[override]
        self, task: Task, data: PhasedImages
    ) -> Sequence[Reference]:
        from dyt_vision.reference import references

        return references(data.labelled)


domain = SelfSupervisedVision()
