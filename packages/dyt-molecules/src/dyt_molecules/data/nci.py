"""The molecules of the NCI, from the file that comes with RDKit."""

import csv
from collections.abc import Iterator
from pathlib import Path

from rdkit import Chem
from rdkit.rdBase import BlockLogs

from dyt_molecules.data.structures import Row


def read_nci(file: Path) -> Iterator[Row]:
    """Rows ``SMILES,value``, without the eight whose valences RDKit does not accept."""
    with file.open(newline="") as lines, BlockLogs():
        for smiles, value in csv.reader(line for line in lines if not line.startswith("#")):
            if (molecule := Chem.MolFromSmiles(smiles)) is not None:
                yield molecule, float(value)
