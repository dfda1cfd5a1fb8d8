"""The user's own CSV file, with the columns smiles and value."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rdkit import Chem
from rdkit.rdBase import BlockLogs

from dyt_bench.plugin.domain import DataError
from dyt_molecules.data.structures import Row


def read_table(file: Path) -> Iterator[Row]:
    """Every row.

    Raises:
        DataError: the file is not CSV, lacks a column, or has a row that cannot be read: names
            its line.
    """
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
        raise DataError(f"{where}: {smiles!r} is no SMILES that RDKit can read: fix or remove it")
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not np.isfinite(number):
        raise DataError(f"{where}: value must be a finite number, got {value!r}")
    return molecule, number
