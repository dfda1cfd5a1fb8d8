"""Molecules read from files, each structure once, split, and served in padded batches."""

import csv
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from rdkit import Chem
from rdkit.rdBase import BlockLogs
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dyt_bench.plugin.data import SeededDataModule, at_most
from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.task import Task
from dyt_molecules.tokens import PAD, START, Vocabulary, split

LONGEST = 64  # tokens of a string; longer molecules are left out
HELD_OUT = 10  # one structure in so many is validated on

Row = tuple[Chem.Mol, float]  # a molecule and its property
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
        super().__init__(
            at_most(self._samples(train), task.train_samples),  # type: ignore[arg-type]
            self._samples(val),  # type: ignore[arg-type]
            batch_size=task.batch_size,
            seed=task.seed,
            collate_fn=pad,
        )

    def _samples(self, molecules: dict[str, float]) -> list[Sample]:
        return [
            (self.vocabulary.encode(smiles), (value - self.mean) / self.scale)
            for smiles, value in molecules.items()
        ]

    def rmse_of_mean(self) -> float:
        """Error on the validation set of a model that always predicts the training mean."""
        return float(np.sqrt(np.mean([value**2 for _, value in self.val])))

    def unigram_loss(self) -> float:
        """Nats per validation token, predicted by the training set's frequencies, plus one each."""
        seen, asked = (
            torch.bincount(
                torch.tensor([t for tokens, _ in side for t in tokens if t != START]),
                minlength=len(self.vocabulary),
            )
            for side in (self.train, self.val)
        )
        counts = seen + 1.0
        nats = -(counts / counts.sum()).log()
        return float((asked * nats).sum() / asked.sum())


def molecule_data(task: Task, files: Iterable[Path]) -> MoleculeData:
    """The data module of ``task.dataset``: the split is the same for every seed.

    Raises:
        DataError: a file is not what `_READERS` expects, or holds too few molecules.
    """
    molecules = distinct(row for file in files for row in _READERS[task.dataset](file))
    structures = list(molecules)
    order = np.random.default_rng(0).permutation(len(structures))
    held_out = len(structures) // HELD_OUT
    if not held_out:
        raise DataError(
            f"{task.path or task.dataset}: {len(structures)} molecules of at most {LONGEST} tokens "
            f"are too few: expected {HELD_OUT} and more, to hold one out"
        )
    val, train = (
        {structures[index]: molecules[structures[index]] for index in side}
        for side in (order[:held_out], order[held_out:])
    )
    return MoleculeData(train, val, task)


def distinct(rows: Iterable[Row]) -> dict[str, float]:
    """Canonical SMILES -> mean of what was found for it: the same structure is one molecule.

    However a file writes a molecule, RDKit writes it one way; so what is split by these strings
    has no structure on both sides. Molecules of more than `LONGEST` tokens are left out.
    """
    found: dict[str, list[float]] = {}
    for molecule, value in rows:
        found.setdefault(Chem.MolToSmiles(molecule), []).append(value)
    return {
        smiles: float(np.mean(values))
        for smiles, values in found.items()
        if len(split(smiles)) <= LONGEST
    }


def _read_nci(file: Path) -> Iterator[Row]:
    """RDKit's own file: ``SMILES,value``; eight molecules that RDKit holds impossible go."""
    with file.open(newline="") as lines, BlockLogs():
        for smiles, value in csv.reader(line for line in lines if not line.startswith("#")):
            if (molecule := Chem.MolFromSmiles(smiles)) is not None:
                yield molecule, float(value)


def _read_sdf(file: Path) -> Iterator[Row]:
    for molecule in Chem.SDMolSupplier(str(file)):
        yield molecule, float(molecule.GetProp("SOL"))


def _read_table(file: Path) -> Iterator[Row]:
    """The user's file: whatever is wrong in it is named with its line."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines, BlockLogs():
            rows = csv.DictReader(lines)
            if missing := {"smiles", "value"} - set(rows.fieldnames or ()):
                raise DataError(
                    f"{file}: no column {' and '.join(sorted(missing))}: the first line must name "
                    "the columns smiles and value"
                )
            for row in rows:
                yield _row(f"{file}:{rows.line_num}", row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is no CSV file in UTF-8: {error}") from None


def _row(where: str, row: dict[str, str | None]) -> Row:
    smiles, value = row["smiles"] or "", row["value"] or ""
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or not molecule.GetNumAtoms():
        raise DataError(f"{where}: {smiles!r} is no SMILES that RDKit can read: mend or remove it")
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not np.isfinite(number):
        raise DataError(f"{where}: value must be a finite number, got {value!r}")
    return molecule, number


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "nci": _read_nci,
    "solubility": _read_sdf,
    "table": _read_table,
}
