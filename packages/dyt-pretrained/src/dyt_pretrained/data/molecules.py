"""The molecules that an encoder learns from: those of the NCI, by their canonical SMILES."""

import csv
from pathlib import Path

# An atom in brackets, an element of two letters, a ring closure of two digits; else one character.
TOKEN = r"\[[^\]]*\]|Br|Cl|%\d\d|."


def to_read(table: Path, others: Path) -> list[str]:
    """Each molecule of ``others`` once, as RDKit writes it, without those of ``table``.

    Args:
        table: a CSV file with the column ``smiles``, as RDKit writes them.
        others: lines ``SMILES,number``; comments begin with #. What RDKit cannot read is left out.
    """
    from rdkit import Chem
    from rdkit.rdBase import BlockLogs

    with table.open(newline="") as lines:
        known = {row["smiles"] for row in csv.DictReader(lines)}
    with others.open(newline="") as lines, BlockLogs():
        rows = csv.reader(line for line in lines if not line.startswith("#"))
        molecules = [Chem.MolFromSmiles(smiles) for smiles, _ in rows]
    found = dict.fromkeys(Chem.MolToSmiles(each) for each in molecules if each is not None)
    return [smiles for smiles in found if smiles not in known]
