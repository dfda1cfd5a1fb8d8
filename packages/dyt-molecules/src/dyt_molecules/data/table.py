"""A CSV file with the column smiles and one of numbers."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rdkit import Chem
from rdkit.rdBase import BlockLogs

from dyt_bench.plugin.domain import DataError, quoted, reason
from dyt_molecules.data.structures import Row


def read_table(file: Path, value: str = "value") -> Iterator[Row]:
    """Every row: the column ``smiles``, and the number in the column called ``value``.

    Raises:
        DataError: the file is not CSV, lacks a column, or has a row that cannot be read: names
            its line.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines, BlockLogs():
            rows = csv.DictReader(lines)
            if missing := {"smiles", value} - set(rows.fieldnames or ()):
                raise DataError(
                    f"{file}: no column {' and '.join(sorted(missing))}: the first line must name "
                    f"the columns smiles and {value}"
                )
            for row in rows:
                yield _row(f"{file}:{rows.line_num}", row["smiles"] or "", row[value] or "")
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is no CSV file in UTF-8: {reason(error)}") from None


def _row(where: str, smiles: str, value: str) -> Row:
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or not molecule.GetNumAtoms():
        raise DataError(
            f"{where}: {quoted(smiles)} is no SMILES that RDKit can read: fix or remove it"
        )
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not np.isfinite(number):
        raise DataError(f"{where}: value must be a finite number, got {quoted(value)}")
    return molecule, number
