"""The files of each data set. No torch, no reader of sequences."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from dyt_bench.plugin.fetch import need
from dyt_bench.plugin.files import files_below, package_file

FASTA = (".fa", ".fasta", ".ffn", ".fna", ".frn", ".fsa")
ANNOTATED = dict.fromkeys((".gb", ".gbff", ".gbk", ".genbank"), "genbank") | {".embl": "embl"}
TWO_BIT = (".2bit",)  # of UCSC
PACKED = (".gz", ".bgz")  # by gzip or bgzip
GENOMES = {suffix + packed for suffix in (*FASTA, *ANNOTATED) for packed in ("", *PACKED)}
GENOMES |= set(TWO_BIT)
RAGOUT = "usr/share/doc/ragout/examples"  # the folder of genomes in Debian's package

LABELLED = {"species", "genomic-benchmarks"}  # data sets whose sequences have classes

# Species -> one genome of it. Strains of a species share most of their sequence, so a second genome
# would contain what is held out of the first.
SPECIES = {
    "E. coli": "E.Coli/references/MG1655-K12.fasta.gz",
    "H. pylori": "H.Pylori/references/G27.fasta.gz",
    "S. aureus": "S.Aureus/references/N315.fasta.gz",
    "V. cholerae": "V.Cholerae/references/O1_biovar.fasta.gz",
}
# The beginnings of the same genomes, in this package.
BEGINNINGS = {
    "E. coli": "e-coli.fasta.gz",
    "H. pylori": "h-pylori.fasta.gz",
    "S. aureus": "s-aureus.fasta.gz",
    "V. cholerae": "v-cholerae.fasta.gz",
}


def chloroplast(path: Path | None) -> list[Path]:
    return [package_file("dyt_dna", "genome/NC_000932.gb")]


def folder(path: Path | None) -> list[Path]:
    return files_below(path, GENOMES, "GENOME.fa or GENOME.gb, gzipped or not")


def hg38(path: Path | None) -> list[Path]:
    return files_below(path, GENOMES | {".bed"}, "hg38.fa and, for its split, SEQUENCES.bed")


def bacteria(path: Path | None) -> list[Path]:
    return need("dna/bacteria", SPECIES.values(), system=[Path("/") / RAGOUT])


def species(path: Path | None) -> list[Path]:
    return [package_file("dyt_dna", f"bacteria/{name}") for name in BEGINNINGS.values()]


def classes(path: Path | None) -> list[Path]:
    return files_below(path, {".txt"}, "train/CLASS/SEQUENCE.txt and test/CLASS/SEQUENCE.txt")


# Data set -> (the user's path) -> its files.
FILES: Mapping[str, Callable[[Path | None], Iterable[Path]]] = {
    "chloroplast": chloroplast,
    "bacteria": bacteria,
    "folder": folder,
    "hg38": hg38,
    "species": species,
    "genomic-benchmarks": classes,
}
