"""The data module: distinct molecules, split, and served in padded batches."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from dyt_bench.plugin.data import SeededDataModule, at_most
from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.task import Task
from dyt_molecules.data.files import FILES, check_options
from dyt_molecules.data.nci import read_nci
from dyt_molecules.data.scaffolds import divided
from dyt_molecules.data.solubility import read_solubility
from dyt_molecules.data.structures import Row, distinct
from dyt_molecules.data.table import read_table
from dyt_molecules.data.tokens import PAD, Vocabulary

READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "nci": read_nci,
    "solubility": read_solubility,
    "table": read_table,
}
SPLITS = {"nci": "random", "solubility": "scaffold", "table": "random"}  # unless a suite chooses

# Tokens and property, as plain numbers: of tensors, a loader's worker needs a descriptor each.
Sample = tuple[list[int], float]


def pad(samples: list[Sample]) -> tuple[Tensor, Tensor]:
    """Samples -> tokens (B, T) int64, ``PAD`` behind the shorter ones; properties (B,) float32."""
    tokens = [torch.tensor(tokens) for tokens, _ in samples]
    values = torch.tensor([value for _, value in samples], dtype=torch.float32)
    return pad_sequence(tokens, batch_first=True, padding_value=PAD), values


class MoleculeData(SeededDataModule):
    """Batches as `pad` makes them; properties in standard deviations from the training mean.

    Args:
        dataset: the name of a data set in `dyt_molecules.catalog`.
        path: of your own table.
        batch_size: molecules of a training step, of all processes together.
        split: ``random`` or ``scaffold``; by default the data set's own.
        train_samples: train on at most so many molecules, chosen at random.

    Raises:
        DataError: a file cannot be read or holds too few molecules, there is no such split, or
            all molecules to train on have one value.
    """

    def __init__(
        self,
        dataset: str = "nci",
        path: str | Path | None = None,
        *,
        batch_size: int = 32,
        seed: int = 0,
        split: str | None = None,
        train_samples: int | None = None,
    ) -> None:
        check_options(None, {} if split is None else {"split": split})
        source = path or dataset
        files = FILES[dataset](None if path is None else Path(path))
        molecules = distinct(row for file in files for row in READERS[dataset](file))
        train, val = divided(list(molecules), split or SPLITS[dataset], source)
        known = np.array([molecules[smiles] for smiles in train])
        self.mean, self.scale = float(known.mean()), float(known.std())
        if not self.scale:
            raise DataError(
                f"{source}: every molecule to train on has the value {self.mean:g}: there is "
                "nothing to predict"
            )
        self.vocabulary = Vocabulary(train)
        samples, held_out = (
            [
                (self.vocabulary.encode(smiles), (molecules[smiles] - self.mean) / self.scale)
                for smiles in side
            ]
            for side in (train, val)
        )
        # A list is a data set to torch, but not to its types.
        chosen = at_most(cast(Dataset[Any], samples), train_samples)
        self.samples = list(cast(list[Sample], chosen)), held_out
        super().__init__(
            *(cast(Dataset[Any], side) for side in self.samples),
            batch_size=batch_size,
            seed=seed,
            collate_fn=pad,
        )


def build_data(task: Task) -> MoleculeData:
    """The data module of a task: the split is the same for every seed."""
    return MoleculeData(
        task.dataset,
        task.path,
        batch_size=task.batch_size,
        seed=task.seed,
        split=task.option("split"),
        train_samples=task.train_samples,
    )
