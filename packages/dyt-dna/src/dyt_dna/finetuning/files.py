"""The files of a genome and of labelled sequences, side by side. No torch."""

from pathlib import Path

from dyt_bench.plugin.domain import DataError
from dyt_dna.data import files

GENOME, LABELLED = "hg38", "genomic-benchmarks"  # folders, and the data sets read from them


def genome_and_classes(path: Path | None) -> list[Path]:
    """Of the folders ``hg38`` and ``genomic-benchmarks`` in ``path``."""
    if path is None:
        raise DataError(
            "this data set is read from your own files: give path, a folder with the folders "
            f"{GENOME} and {LABELLED}"
        )
    return files.hg38(path / GENOME) + files.classes(path / LABELLED)
