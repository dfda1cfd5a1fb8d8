"""What there is to train and to train on. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dyt_bench.plugin.domain import Dataset, Fetch, Model
from dyt_bench.plugin.fetch import need
from dyt_bench.plugin.files import files_below, package_file

STD = 0.02  # GPT-2's
GENOMES = {".fa", ".fasta", ".fna", ".gb", ".gbk", ".gz"}
_RAGOUT = "usr/share/doc/ragout/examples"  # where Debian's package has its genomes

# Species -> one genome of it: strains of a species share most of their sequence, so a second one
# would hold what is held out of the first.
SPECIES = {
    "E. coli": "E.Coli/references/MG1655-K12.fasta.gz",
    "H. pylori": "H.Pylori/references/G27.fasta.gz",
    "S. aureus": "S.Aureus/references/N315.fasta.gz",
    "V. cholerae": "V.Cholerae/references/O1_biovar.fasta.gz",
}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What `dyt_dna.models` builds."""

    family: Literal["hyena", "caduceus-ph", "caduceus-ps"]
    width: int
    depth: int
    length: int  # bases read at once
    # Standard deviation of weights at the start: as released, unless the size is for two cores.
    std: float = STD

    @property
    def masked(self) -> bool:
        """Whether it guesses masked bases, reading both ways, rather than each next one."""
        return self.family != "hyena"


ARCHITECTURES: Mapping[str, Architecture] = {
    # The released models' 0.02 takes a layer's output to a quarter of its input at this width. A
    # norm undoes that and DyT does not; the native norm's loss is the same with either.
    "hyena": Architecture(family="hyena", width=128, depth=2, length=1024, std=128**-0.5),
    "hyena-std02": Architecture(family="hyena", width=128, depth=2, length=1024),
    "caduceus": Architecture(family="caduceus-ph", width=64, depth=2, length=256),
    "caduceus-ps": Architecture(family="caduceus-ps", width=64, depth=2, length=256),
    "hyena-tiny-1k": Architecture(family="hyena", width=128, depth=2, length=1024),
    "hyena-small-32k": Architecture(family="hyena", width=256, depth=4, length=32_768),
    "hyena-medium-160k": Architecture(family="hyena", width=256, depth=8, length=160_000),
    "caduceus-ph-1k": Architecture(family="caduceus-ph", width=118, depth=4, length=1024),
    "caduceus-ps-1k": Architecture(family="caduceus-ps", width=118, depth=4, length=1024),
    "caduceus-ph-131k": Architecture(family="caduceus-ph", width=256, depth=16, length=131_072),
    "caduceus-ps-131k": Architecture(family="caduceus-ps", width=256, depth=16, length=131_072),
}


def _hyena(name: str, parameters: str) -> Model:
    """A published size, trained as Caduceus's authors trained theirs: 2^20 bases a step."""
    size = ARCHITECTURES[name]
    return Model(
        summary=f"HyenaDNA, {size.depth} layers of {size.width}, {size.length:,} bases, "
        f"{parameters} parameters",
        library="dyt-dna",
        native_norm="LayerNorm",
        steps=10_000,
        batch_size=2**20 // size.length,
        learning_rate=6e-4,
        training="hyenadna",
    )


def _caduceus(name: str, parameters: str, *, steps: int) -> Model:
    size = ARCHITECTURES[name]
    return Model(
        summary=f"Caduceus-{size.family[-2:].capitalize()}, {size.depth} layers of {size.width}, "
        f"{size.length:,} bases, {parameters} parameters",
        library="transformers",
        native_norm="RMSNorm",
        steps=steps,
        batch_size=2**20 // size.length,
        learning_rate=8e-3,
        training="caduceus",
    )


def _small_caduceus(summary: str) -> Model:
    return Model(
        summary=summary,
        library="transformers",
        native_norm="RMSNorm",
        steps=160,
        batch_size=4,
        learning_rate=8e-3,
        training="caduceus-small",
    )


def _small_hyena(summary: str) -> Model:
    return Model(
        summary=summary,
        library="dyt-dna",
        native_norm="LayerNorm",
        steps=200,
        batch_size=2,
        learning_rate=2e-3,
    )


MODELS: Mapping[str, Model] = {
    "hyena": _small_hyena("HyenaDNA, 2 layers of 128, 1,024 bases"),
    "hyena-std02": _small_hyena("HyenaDNA, 2 layers of 128, started with weights of 0.02"),
    "caduceus": _small_caduceus("Caduceus-Ph, 2 layers of 64, 256 bases"),
    "caduceus-ps": _small_caduceus("Caduceus-PS, 2 layers of 64, 256 bases, both strands at once"),
    "hyena-tiny-1k": _hyena("hyena-tiny-1k", "0.44 M"),
    "hyena-small-32k": _hyena("hyena-small-32k", "3.3 M"),
    "hyena-medium-160k": _hyena("hyena-medium-160k", "6.6 M"),
    "caduceus-ph-1k": _caduceus("caduceus-ph-1k", "0.47 M", steps=10_000),
    "caduceus-ps-1k": _caduceus("caduceus-ps-1k", "0.47 M", steps=10_000),
    "caduceus-ph-131k": _caduceus("caduceus-ph-131k", "7.7 M", steps=50_000),
    "caduceus-ps-131k": _caduceus("caduceus-ps-131k", "7.7 M", steps=50_000),
}


def _chloroplast(path: Path | None) -> list[Path]:
    return [package_file("dyt_dna", "genome/NC_000932.gb")]


def _folder(path: Path | None) -> list[Path]:
    return files_below(path, GENOMES, "GENOME.fa or GENOME.gb, gzipped or not")


def _hg38(path: Path | None) -> list[Path]:
    return files_below(path, GENOMES | {".bed"}, "hg38.fa and, for its split, SEQUENCES.bed")


def _bacteria(path: Path | None) -> list[Path]:
    """Also what the data set "species" is read from: one download for the two."""
    return need("dna/bacteria", SPECIES.values(), system=[Path("/") / _RAGOUT])


def _classes(path: Path | None) -> list[Path]:
    return files_below(path, {".txt"}, "train/CLASS/SEQUENCE.txt and test/CLASS/SEQUENCE.txt")


_RAGOUT_SOURCE = "Debian's and Ubuntu's package ragout-examples, one complete genome a species"

DATASETS: Mapping[str, Dataset] = {
    "chloroplast": Dataset(
        summary="the chloroplast genome of Arabidopsis thaliana, 154,478 bases, annotated",
        source="GenBank NC_000932.1, as in Biopython 1.88, Tests/GenBank/NC_000932.gb",
        licence="Biopython",
        files=_chloroplast,
    ),
    "bacteria": Dataset(
        summary="the genomes of four bacteria, 13.1 million bases",
        source=_RAGOUT_SOURCE,
        licence="BSD-3-Clause",
        files=_bacteria,
        fetch=Fetch(
            size="18 MB",
            debian=("ragout-examples",),
            keep=tuple(
                f"usr/share/doc/ragout/examples/**/{Path(f).name}" for f in SPECIES.values()
            ),
        ),
    ),
    "folder": Dataset(
        summary="your genomes, FASTA or GenBank",
        source="path: a file, or a folder of .fa .fasta .fna .gb .gbk, gzipped or not",
        licence="yours",
        files=_folder,
        takes_path=True,
    ),
    "hg38": Dataset(
        summary="the human genome, 3.1 billion bases, split as HyenaDNA and Caduceus do",
        source="path: a folder of hg38's FASTA and a BED file, a line: chromosome, start, end, "
        "and train, valid or test",
        licence="of the genome: free of restrictions",
        files=_hg38,
        takes_path=True,
    ),
    "species": Dataset(
        summary="which of four bacteria? stretches of their genomes; their GC contents differ",
        source=f"{_RAGOUT_SOURCE}: fetch dna/bacteria",
        licence="BSD-3-Clause",
        files=_bacteria,
    ),
    "genomic-benchmarks": Dataset(
        summary="one of the GenomicBenchmarks, or any labelled sequences",
        source="path: a folder of train/CLASS/*.txt and test/CLASS/*.txt, as the package "
        "genomic-benchmarks unpacks it",
        licence="Apache-2.0",
        files=_classes,
        takes_path=True,
    ),
}
LABELLED = {"species", "genomic-benchmarks"}  # whose sequences have classes
