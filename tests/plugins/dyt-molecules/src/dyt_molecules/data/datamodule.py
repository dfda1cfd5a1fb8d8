"""The data module: distinct molecules, split, and served in padded batches."""

from collections.abc import Callable, Iterable, Iterator
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
from dyt_molecules.data.nci import read_nci
from dyt_molecules.data.solubility import read_solubility
from dyt_molecules.data.structures import Row, distinct
from dyt_molecules.data.table import read_table
from dyt_molecules.data.tokens import LONGEST, PAD, Vocabulary

HELD_OUT = 10  # one structure in so many is held out
READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "nci": read_nci,
    "solubility": read_solubility,
    "table": read_table,
}

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
        train, val: canonical SMILES -> property in its own unit; no structure is in both.

    Raises:
        DataError: all molecules to train on have one value, or they are fewer than a batch.
    """

    def __init__(self, train: dict[str, float], val: dict[str, float], task: Task) -> None:
        self.mean, self.scale = float(np.mean([*train.values()])), float(np.std([*train.values()]))
        if not self.scale:
            raise DataError(
                f"{task.path or task.dataset}: every molecule to train on has the value "
                f"{self.mean:g}: there is nothing to predict"
            )
        self.vocabulary = Vocabulary(train)
        # A list is a data set to torch, but not to its types.
        chosen = at_most(cast(Dataset[Any], self._samples(train)), task.train_samples)
        self.samples = list(cast(list[Sample], chosen)), self._samples(val)
        super().__init__(
            *(cast(Dataset[Any], side) for side in self.samples),
            batch_size=task.batch_size,
            seed=task.seed,
            collate_fn=pad,
        )

    def _samples(self, molecules: dict[str, float]) -> list[Sample]:
        return [
            (self.vocabulary.encode(smiles), (value - self.mean) / self.scale)
            for smiles, value in molecules.items()
        ]


def build_data(task: Task, files: Iterable[Path]) -> MoleculeData:
    """The data module of ``task.dataset``: the split is the same for every seed.

    Raises:
        DataError: a file cannot be read, or holds too few molecules.
    """
    molecules = distinct(row for file in files for row in READERS[task.dataset](file))
    structures = list(molecules)
    order = np.random.default_rng(0).permutation(len(structures))
    held_out = len(structures) // HELD_OUT
    if not held_out:
        raise DataError(
            f"{task.path or task.dataset}: {len(structures)} molecules of at most {LONGEST} tokens "
            f"are too few: expected {HELD_OUT} or more, to hold one out"
        )
    val, train = (
        {structures[index]: molecules[structures[index]] for index in side}
        for side in (order[:held_out], order[held_out:])
    )
    return MoleculeData(train, val, task)
