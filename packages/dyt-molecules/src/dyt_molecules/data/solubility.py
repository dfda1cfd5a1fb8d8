"""Measured solubility in water, from this package's table."""

from collections.abc import Iterator
from pathlib import Path

from dyt_molecules.data.structures import Row
from dyt_molecules.data.table import read_table


def read_solubility(file: Path) -> Iterator[Row]:
    """Every molecule with its solubility, in log mol/l."""
    return read_table(file, value="solubility")
