"""The domain of language modelling: decoder-only transformers as transformers builds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dyt_bench.plugin.domain import Domain, Metric, Reference
from dyt_bench.plugin.task import Task
from dyt_llm.catalog import DATASETS, MODELS, TRAININGS

if TYPE_CHECKING:
    from dyt_llm.data.datamodule import TextData
    from dyt_llm.module import LanguageModel


class LanguageModelling(Domain):
    api_version = 2  # of the contract that this is written for
    name = "llm"
    summary = "language modelling"
    unit = "token"
    metric = Metric(
        name="val/loss",
        mode="min",
        title="loss (nats/byte)",
        margin=0.02,
        reference="a Markov chain of order 2",
    )
    preload = ("dyt_llm.tasks", "dyt_llm.evaluation")
    models = MODELS
    trainings = TRAININGS
    datasets = DATASETS

    def build_data(self, task: Task) -> TextData:
        from dyt_llm.tasks import build_data

        return build_data(task)

    def build_module(self, task: Task, data: TextData) -> LanguageModel:  # type: ignore[override]
        from dyt_llm.tasks import build_module

        return build_module(task, data, self.training(task))

    def references(  # type: ignore[override]
        self, task: Task, data: TextData
    ) -> Sequence[Reference]:
        from dyt_llm.reference import references

        return references(data)

    def evaluate(  # type: ignore[override]
        self, task: Task, module: LanguageModel, data: TextData, folder: Path
    ) -> Mapping[str, float]:
        """In-context accuracy; see `dyt_llm.evaluation`."""
        from dyt_llm.evaluation import evaluate

        return evaluate(module, data, folder)


domain = LanguageModelling()
