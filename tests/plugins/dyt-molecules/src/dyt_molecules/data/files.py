"""The files of each data set. No torch, no RDKit."""

from collections.abc import Iterable
from pathlib import Path

from dyt_bench.plugin.fetch import need
from dyt_bench.plugin.files import files_below, package_file


def nci(path: Path | None) -> Iterable[Path]:
    return [package_file("rdkit", "Data/NCI/first_5k.tpsa.csv")]


def solubility(path: Path | None) -> Iterable[Path]:
    return need("molecules/solubility", ["solubility.*.sdf"])


def table(path: Path | None) -> Iterable[Path]:
    return files_below(path, {".csv"}, "TABLE.csv with the columns smiles and value")
