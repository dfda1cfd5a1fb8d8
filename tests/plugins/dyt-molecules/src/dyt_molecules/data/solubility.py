"""Measured solubility in water, from RDKit's SDF files."""

from collections.abc import Iterator
from pathlib import Path

from rdkit import Chem

from dyt_molecules.data.structures import Row


def read_solubility(file: Path) -> Iterator[Row]:
    """Every molecule with its property ``SOL``, in log mol/l."""
    for molecule in Chem.SDMolSupplier(str(file)):
        yield molecule, float(molecule.GetProp("SOL"))
