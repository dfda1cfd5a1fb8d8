"""The files of each data set, and what can be said of their options. No torch, no RDKit."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from dyt_bench.plugin.domain import DataError, quoted
from dyt_bench.plugin.files import files_below, package_file

# One molecule in so many is held out. Of scaffolds more: a few must not decide.
HELD_OUT = {"random": 10, "scaffold": 5}


def check_options(path: Path | None, options: Mapping[str, str]) -> None:
    """Raise DataError where there is no such split."""
    split = options.get("split")
    if split is not None and split not in HELD_OUT:
        raise DataError(f"split must be random or scaffold, got {quoted(split)}")


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
