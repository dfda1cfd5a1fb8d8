"""Which files a checkpoint and a data set are read from. No torch."""

from collections.abc import Iterable
from pathlib import Path

from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.files import files_below, package_file
from dyt_images.files import digits as digits
from dyt_images.files import folder as images
from dyt_pretrained.checkpoint import read_checkpoint

__all__ = [
    "digits",
    "image_checkpoint",
    "images",
    "molecules",
    "table",
    "text_checkpoint",
    "verses",
]

TABLES = {".csv", ".tsv", ".jsonl", ".parquet"}


def text_checkpoint(path: Path | None) -> Iterable[Path]:
    """The checkpoint's files; without one, the text that the example's encoder learns from."""
    return verses(None) if path is None else read_checkpoint(path).files


def image_checkpoint(path: Path | None) -> Iterable[Path]:
    """The checkpoint's files; without one, the images that the example's ViT learns from."""
    return digits(None) if path is None else read_checkpoint(path).files


def verses(path: Path | None) -> list[Path]:
    return [package_file("dyt_llm", "text/genesis-to-judges.txt")]


def molecules(path: Path | None) -> list[Path]:
    """Molecules with their solubility, and those without it that an encoder learns from.

    Raises:
        DataError: a package that carries them is not installed.
    """
    return [
        package_file("dyt_molecules", "solubility/solubility.csv"),
        package_file("rdkit", "Data/NCI/first_5k.tpsa.csv"),
    ]


def table(path: Path | None) -> list[Path]:
    """One table.

    Raises:
        DataError: there is none, or several.
    """
    found = files_below(path, TABLES, "TABLE.csv")
    if len(found) > 1:
        names = f"{found[0].name} and {found[1].name}"
        raise DataError(f"{path} holds {len(found)} tables, {names} among them: name one")
    return found
