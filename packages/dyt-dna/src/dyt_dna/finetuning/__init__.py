"""The domain `dna-finetuning`: classes of sequences, by models pretrained without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dyt_bench.plugin.domain import Domain, Metric, Reference
from dyt_bench.plugin.task import Task
from dyt_dna.finetuning.catalog import DATASETS, MODELS, TRAININGS

if TYPE_CHECKING:
    from dyt_dna.finetuning.data import FineTuningData
    from dyt_dna.finetuning.module import FineTuned


class FineTuning(Domain):
    api_version = 2  # of the contract that this is written for
    name = "dna-finetuning"
    summary = "classes of sequences, after pretraining on next or masked nucleotides"
    unit = "base"
    metric = Metric(
        name="val/acc",
        mode="max",
        title="accuracy",
        margin=0.01,
        reference="logistic regression of words of 2 bases",
    )
    preload = ("dyt_dna.finetuning.tasks", "dyt_dna.evaluation")
    models = MODELS
    datasets = DATASETS
    trainings = TRAININGS

    def build_data(self, task: Task) -> FineTuningData:
        from dyt_dna.finetuning.tasks import build_data

        return build_data(task, self.training(task))

    def build_module(self, task: Task, data: FineTuningData) -> FineTuned:  # type: ignore[override]
        from dyt_dna.finetuning.tasks import build_module

        return build_module(task, data, self.training(task))

    def references(  # type: ignore[override]
        self, task: Task, data: FineTuningData
    ) -> Sequence[Reference]:
        from dyt_dna.finetuning.reference import references

        return references(data)

    def evaluate(  # type: ignore[override]
        self, task: Task, module: FineTuned, data: FineTuningData, folder: Path
    ) -> Mapping[str, float]:
        from dyt_dna.evaluation import classifier

        return classifier(module, data)


domain = FineTuning()
