"""The domain of self-supervised speech: wav2vec 2.0 as transformers builds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dyt_bench.plugin.domain import Domain, Metric, Reference
from dyt_bench.plugin.task import Task
from dyt_speech.catalog import DATASETS, MODELS, TRAININGS

if TYPE_CHECKING:
    from dyt_speech.data.datamodule import SpeechData
    from dyt_speech.module import Pretraining


class Speech(Domain):
    api_version = 2  # of the contract that this is written for
    name = "speech"
    summary = "self-supervised speech representation"
    unit = "second"
    metric = Metric(
        name="val/loss",
        mode="min",
        title="contrastive loss (nats/masked frame)",
        margin=0.05,
    )
    preload = ("dyt_speech.tasks", "dyt_speech.evaluation")
    models = MODELS
    trainings = TRAININGS
    datasets = DATASETS

    def build_data(self, task: Task) -> SpeechData:
        from dyt_speech.tasks import build_data

        return build_data(task, self.training(task))

    def build_module(self, task: Task, data: SpeechData) -> Pretraining:  # type: ignore[override]
        from dyt_speech.tasks import build_module

        return build_module(task, self.training(task))

    def references(  # type: ignore[override]
        self, task: Task, data: SpeechData
    ) -> Sequence[Reference]:
        from dyt_speech.reference import references

        return references(task.model)

    def evaluate(  # type: ignore[override]
        self, task: Task, module: Pretraining, data: SpeechData, folder: Path
    ) -> Mapping[str, float]:
        from dyt_speech.evaluation import evaluate

        return evaluate(module, data, folder)


domain = Speech()
