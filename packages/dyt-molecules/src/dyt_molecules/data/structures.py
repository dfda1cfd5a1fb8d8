"""Molecules by structure: the same one once, however it is written."""

from collections.abc import Iterable

import numpy as np
from rdkit import Chem

from dyt_molecules.data.tokens import LONGEST, split

Row = tuple[Chem.Mol, float]  # a molecule and its property


def distinct(rows: Iterable[Row]) -> dict[str, float]:
    """Canonical SMILES -> mean of its values: the same structure is one molecule.

    However a file writes a molecule, RDKit writes it in one way. So a split by these strings has
    no structure on both sides. Molecules of more than `LONGEST` tokens are left out.
    """
    found: dict[str, list[float]] = {}
    for molecule, value in rows:
        found.setdefault(Chem.MolToSmiles(molecule), []).append(value)
    return {
        smiles: float(np.mean(values))
        for smiles, values in found.items()
        if len(split(smiles)) <= LONGEST
    }
