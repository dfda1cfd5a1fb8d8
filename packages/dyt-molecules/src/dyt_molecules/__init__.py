"""The two domains of small molecules: their properties, and their SMILES."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dyt_bench.plugin.domain import Domain, Metric
from dyt_bench.plugin.task import Task
from dyt_molecules.catalog import DATASETS, MODELS, TRAININGS

if TYPE_CHECKING:
    from dyt_bench.plugin.module import SupervisedModule
    from dyt_molecules.data.datamodule import MoleculeData
    from dyt_molecules.module import LanguageModel


class Properties(Domain):
    api_version = 2  # of the contract that this is written for
    name = "molecules"
    summary = "a property of small molecules, predicted from their SMILES"
    unit = "molecule"
    metric = Metric(
        name="val/rmse",
        mode="min",
        title="RMSE (standard deviations of the training set)",
        margin=0.02,
        reference="the mean of the training set",
    )
    preload = ("dyt_molecules.data.datamodule", "dyt_molecules.module", "dyt_molecules.evaluation")
    models = {"encoder": MODELS["encoder"]}
    trainings = TRAININGS
    datasets = DATASETS

    def build_data(self, task: Task) -> MoleculeData:
        from dyt_molecules.data.datamodule import build_data

        return build_data(task)

    def build_module(self, task: Task, data: MoleculeData) -> SupervisedModule:  # type: ignore[override]
        from dyt_molecules.module import property_module

        return property_module(task, data, self.training(task))

    def reference_score(self, task: Task, data: MoleculeData) -> float:  # type: ignore[override]
        from dyt_molecules.reference import rmse_of_mean

        return rmse_of_mean(data)

    def evaluate(  # type: ignore[override]
        self, task: Task, module: SupervisedModule, data: MoleculeData, folder: Path
    ) -> Mapping[str, float]:
        """``rmse`` and ``mae`` in the property's own unit."""
        from dyt_molecules.evaluation import errors

        return errors(module, data)


class Smiles(Domain):
    api_version = 2  # of the contract that this is written for
    name = "smiles"
    summary = "the next token of a molecule's SMILES"
    unit = "molecule"
    metric = Metric(
        name="val/loss",
        mode="min",
        title="loss (nats/token)",
        margin=0.02,
        reference="the frequencies of the training set's tokens",
    )
    preload = Properties.preload
    models = {"decoder": MODELS["decoder"]}
    trainings = TRAININGS
    datasets = {name: DATASETS[name] for name in ("nci", "table")}

    def build_data(self, task: Task) -> MoleculeData:
        from dyt_molecules.data.datamodule import build_data

        return build_data(task)

    def build_module(self, task: Task, data: MoleculeData) -> LanguageModel:  # type: ignore[override]
        from dyt_molecules.module import language_model

        return language_model(task, data, self.training(task))

    def reference_score(self, task: Task, data: MoleculeData) -> float:  # type: ignore[override]
        from dyt_molecules.reference import unigram_loss

        return unigram_loss(data)


properties = Properties()
smiles = Smiles()
