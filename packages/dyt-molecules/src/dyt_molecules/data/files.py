"""The files of each data set. No torch, no RDKit."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from dyt_bench.plugin.files import files_below, package_file


def nci(path: Path | None) -> Iterable[Path]:
    return [package_file("rdkit", "Data/NCI/first_5k.tpsa.csv")]


def solubility(path: Path | None) -> Iterable[Path]:
    return [package_file("dyt_molecules", "solubility/solubility.csv")]


def table(path: Path | None) -> Iterable[Path]:
    return files_below(path, {".csv"}, "TABLE.csv with the columns smiles and value")


FILES: Mapping[str, Callable[[Path | None], Iterable[Path]]] = {
    "nci": nci,
    "solubility": solubility,
    "table": table,
}
