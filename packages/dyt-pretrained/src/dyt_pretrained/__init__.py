"""The domains `pretrained...`: your own checkpoint, fine-tuned on your own data.

A domain has one metric, so there are three: accuracy, error of a number, loss of a token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dyt_bench.plugin.domain import Domain, Metric, Reference
from dyt_bench.plugin.task import Task
from dyt_pretrained.catalog import CLASSIFIERS, LANGUAGE_MODELS, REGRESSORS, TABLES, TRAININGS
from dyt_pretrained.catalog import DATASETS as ALL_DATASETS

if TYPE_CHECKING:
    from dyt_bench.plugin.module import SupervisedModule
    from dyt_pretrained.data.datamodule import FineTuningData


class Pretrained(Domain):
    """What the three share."""

    api_version = 2  # of the contract that this is written for
    unit = "sample"
    preload = ("dyt_pretrained.data.datamodule", "dyt_pretrained.module")
    trainings = TRAININGS

    def build_data(self, task: Task) -> FineTuningData:
        from dyt_pretrained.data.datamodule import build_data
        from dyt_pretrained.examples import start_of

        files = list(self.datasets[task.dataset].files(task.path))
        return build_data(task, files, start_of(task))

    def build_module(  # type: ignore[override]
        self, task: Task, data: FineTuningData
    ) -> SupervisedModule:
        from dyt_pretrained.module import build_module

        return build_module(task, data, self.training(task))

    def references(  # type: ignore[override]
        self, task: Task, data: FineTuningData
    ) -> Sequence[Reference]:
        from dyt_pretrained.reference import references

        return references(task.model, data)

    def propose(
        self, checkpoint: Path, data: Path, options: Mapping[str, str], model: str | None
    ) -> Mapping[str, Any] | None:
        from dyt_pretrained.proposal import propose

        return propose(checkpoint, data, options, model, self.models)

    def save_model(  # type: ignore[override]
        self, task: Task, module: SupervisedModule, data: FineTuningData, folder: Path
    ) -> None:
        from dyt_pretrained.models import save

        save(module, data, folder)


class Classification(Pretrained):
    name = "pretrained"
    summary = "your checkpoint, fine-tuned to tell classes apart"
    metric = Metric(
        name="val/acc",
        mode="max",
        title="accuracy",
        margin=0.01,
        reference="a linear classifier",
    )
    models = CLASSIFIERS
    datasets = ALL_DATASETS


class Regression(Pretrained):
    name = "pretrained-regression"
    summary = "your checkpoint, fine-tuned to predict a number"
    metric = Metric(
        name="val/rmse",
        mode="min",
        title="RMSE (standard deviations of the training set)",
        margin=0.02,
        reference="ridge regression of character n-grams",
    )
    models = REGRESSORS
    datasets = TABLES

    def evaluate(  # type: ignore[override]
        self, task: Task, module: SupervisedModule, data: FineTuningData, folder: Path
    ) -> Mapping[str, float]:
        """``rmse`` and ``mae`` in the column's own unit, and ``r2``."""
        from dyt_pretrained.evaluation import errors

        return errors(module, data)


class Language(Pretrained):
    name = "pretrained-lm"
    summary = "your checkpoint, trained further on your text"
    metric = Metric(
        name="val/nats",
        mode="min",
        title="loss (nats/token)",
        margin=0.02,
        reference="a Markov chain of order 1",
    )
    models = LANGUAGE_MODELS
    datasets = TABLES


classification = Classification()
regression = Regression()
language = Language()
