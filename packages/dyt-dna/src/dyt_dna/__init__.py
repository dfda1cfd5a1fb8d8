"""The domain of DNA: language models of genomes, and classification of sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dyt_bench.plugin.domain import Domain, Metric, Reference
from dyt_bench.plugin.task import Task
from dyt_dna.catalog import DATASETS, MODELS, TRAININGS

if TYPE_CHECKING:
    from dyt_dna.data.datamodule import GenomeData, LabelledData
    from dyt_dna.module import Classifier, LanguageModel


class DNA(Domain):
    api_version = 2  # of the contract that this is written for
    name = "dna"
    summary = "next or masked nucleotides, and classes of sequences"
    unit = "base"
    metric = Metric(
        name="val/loss",
        mode="min",
        title="loss (nats/base; of classes, nats/sequence)",
        margin=0.005,
        reference="a Markov chain of order 2; for classes, logistic regression of words of 2 bases",
    )
    preload = ("dyt_dna.tasks", "dyt_dna.evaluation")
    models = MODELS
    datasets = DATASETS
    trainings = TRAININGS

    def build_data(self, task: Task) -> GenomeData | LabelledData:
        from dyt_dna.tasks import build_data

        return build_data(task, self.training(task))

    def build_module(  # type: ignore[override]
        self, task: Task, data: GenomeData | LabelledData
    ) -> LanguageModel | Classifier:
        from dyt_dna.tasks import build_module

        return build_module(task, data, self.training(task))

    def references(  # type: ignore[override]
        self, task: Task, data: GenomeData | LabelledData
    ) -> Sequence[Reference]:
        from dyt_dna.reference import references

        return references(task, data)

    def evaluate(  # type: ignore[override]
        self,
        task: Task,
        module: LanguageModel | Classifier,
        data: GenomeData | LabelledData,
        folder: Path,
    ) -> Mapping[str, float]:
        from dyt_dna.evaluation import evaluate

        return evaluate(module, data)


domain = DNA()
