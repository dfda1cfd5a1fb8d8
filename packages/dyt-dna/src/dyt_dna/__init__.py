"""Language modelling of DNA: HyenaDNA. The domain object, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dyt_bench.cell import Task
from dyt_bench.domain import Dataset, Domain, Metric, Model
from dyt_bench.sources import files_below, package_file

if TYPE_CHECKING:
    from dyt_dna.data import GenomeData
    from dyt_dna.module import LanguageModel


def _chloroplast(path: Path | None) -> list[Path]:
    return [package_file("dyt_dna", "genome/NC_000932.gb")]


def _folder(path: Path | None) -> list[Path]:
    suffixes = {".fa", ".fasta", ".fna", ".gb", ".gbk", ".gz"}
    return files_below(path, suffixes, "GENOME.fa or GENOME.gb, gzipped or not")


class DNA(Domain):
    name = "dna"
    summary = "next-nucleotide prediction"
    unit = "base"
    metric = Metric(name="val/loss", mode="min", title="loss (nats/base)", margin=0.005)
    preload = ("dyt_dna.data", "dyt_dna.module")
    models = {
        "hyena": Model(
            summary="HyenaDNA, 2 layers of 128, 1,024 bases",
            library="dyt-dna",
            native_norm="LayerNorm",
            steps=160,
            batch_size=2,
            learning_rate=2e-3,
        ),
    }
    datasets = {
        "chloroplast": Dataset(
            summary="the chloroplast genome of Arabidopsis thaliana, 154,478 bases, annotated",
            source="GenBank NC_000932.1, as in Biopython 1.88, Tests/GenBank/NC_000932.gb",
            licence="Biopython",
            files=_chloroplast,
        ),
        "folder": Dataset(
            summary="your genomes, FASTA or GenBank",
            source="path: a file, or a folder of .fa .fasta .fna .gb .gbk, gzipped or not",
            licence="yours",
            files=_folder,
            takes_path=True,
        ),
    }

    def build_data(self, task: Task) -> GenomeData:
        from dyt_dna.data import genome_data

        return genome_data(task, self.datasets[task.dataset].files(task.path))

    def build_module(self, task: Task, data: GenomeData) -> LanguageModel:  # type: ignore[override]
        from dyt_dna.module import LanguageModel

        return LanguageModel(task, data, self.training(task))


domain = DNA()
