"""Which molecules are held out: some at random, or those of whole scaffolds."""

from collections.abc import Sequence

import numpy as np
from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

from dyt_bench.plugin.domain import DataError
from dyt_molecules.data.files import HELD_OUT

Sides = tuple[list[str], list[str]]  # molecules to train on, molecules held out


def divided(structures: Sequence[str], split: str, source: object) -> Sides:
    """Canonical SMILES to train on and held out, always the same.

    Raises:
        DataError: a side would be empty.
    """
    if len(structures) < HELD_OUT[split]:
        raise DataError(
            f"{source}: {len(structures)} molecules are too few: expected {HELD_OUT[split]} or "
            "more that are not too long, to hold one out"
        )
    if split == "random":
        return _at_random(structures)
    train, val = _by_scaffold(structures)
    if not train:
        raise DataError(
            f"{source}: one scaffold has more than {1 - 1 / HELD_OUT[split]:.0%} of the molecules, "
            "so they cannot be split by scaffold: choose options: {split: random}"
        )
    return train, val


def scaffold(smiles: str) -> str:
    """The Bemis-Murcko scaffold: rings and what links them; "" of a molecule without rings."""
    found: str = MurckoScaffoldSmiles(smiles)  # type: ignore[no-untyped-call]
    return found


def _at_random(structures: Sequence[str]) -> Sides:
    order = np.random.default_rng(0).permutation(len(structures))
    count = len(structures) // HELD_OUT["random"]
    val, train = ([structures[i] for i in side] for side in (order[:count], order[count:]))
    return train, val


def _by_scaffold(structures: Sequence[str]) -> Sides:
    """Molecules of one scaffold are on one side; the frequent scaffolds are to train on.

    As MoleculeNet has it (arXiv 1703.00564): a model is judged by scaffolds that it has not seen.
    """
    groups: dict[str, list[str]] = {}
    for smiles in structures:
        groups.setdefault(scaffold(smiles), []).append(smiles)
    most = len(structures) - len(structures) // HELD_OUT["scaffold"]
    train: list[str] = []
    val: list[str] = []
    for group in sorted(groups.values(), key=len, reverse=True):  # of one size: as they come
        (train if len(train) + len(group) <= most else val).extend(group)
    return train, val
