"""Models with their budgets, training presets and data sets: data only, read without torch."""

from collections.abc import Mapping
from pathlib import Path

from dyt_bench.plugin.domain import Dataset, Fetch, Model, TrainingPreset
from dyt_bench.plugin.fetch import DEBIAN
from dyt_dna.data import files
from dyt_dna.shapes import SHAPES


def _hyena(name: str, parameters: str, training: str = "hyenadna") -> Model:
    """A published size, trained as Caduceus's authors trained theirs: 2^20 bases a step."""
    shape = SHAPES[name]
    return Model(
        summary=f"HyenaDNA, {shape.depth} layers of {shape.width}, {shape.length:,} bases, "
        f"{parameters} parameters",
        library="dyt-dna",
        native_norm="LayerNorm",
        steps=10_000,
        batch_size=2**20 // shape.length,
        learning_rate=6e-4,
        training=training,
        small="hyena-w64",
    )


def _caduceus(name: str, parameters: str, *, steps: int) -> Model:
    shape = SHAPES[name]
    return Model(
        summary=f"Caduceus-{shape.family[-2:].capitalize()}, {shape.depth} layers of "
        f"{shape.width}, {shape.length:,} bases, {parameters} parameters",
        library="transformers",
        native_norm="RMSNorm",
        steps=steps,
        batch_size=2**20 // shape.length,
        learning_rate=8e-3,
        training="caduceus",
        small="caduceus-ps" if shape.family == "caduceus-ps" else "caduceus",
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
    "hyena-w64": Model(
        summary="HyenaDNA, 2 layers of 64, 128 bases: for classes, a core's quarter of a minute",
        library="dyt-dna",
        native_norm="LayerNorm",
        steps=350,
        batch_size=16,
        learning_rate=4e-3,
    ),
    "hyena-std02": _small_hyena("HyenaDNA, 2 layers of 128, started with weights of 0.02"),
    "caduceus": _small_caduceus("Caduceus-Ph, 2 layers of 64, 256 bases"),
    "caduceus-ps": _small_caduceus("Caduceus-PS, 2 layers of 64, 256 bases, both strands at once"),
    "hyena-tiny-1k": _hyena("hyena-tiny-1k", "0.44 M"),
    "hyena-w256-1k": _hyena("hyena-w256-1k", "3.3 M", "hyena-by-caduceus"),
    "hyena-small-32k": _hyena("hyena-small-32k", "3.3 M"),
    "hyena-medium-160k": _hyena("hyena-medium-160k", "6.6 M"),
    "caduceus-ph-1k": _caduceus("caduceus-ph-1k", "0.47 M", steps=10_000),
    "caduceus-ps-1k": _caduceus("caduceus-ps-1k", "0.47 M", steps=10_000),
    "caduceus-ph-131k": _caduceus("caduceus-ph-131k", "7.7 M", steps=50_000),
    "caduceus-ps-131k": _caduceus("caduceus-ps-131k", "7.7 M", steps=50_000),
}

# Options of a preset, all of them optional:
#   dropout: share of HyenaDNA's embedding that is dropped in training.
#   filter_rate, filter_weight_decay: the learning rate of the filters' MLPs, as a share of the
#       peak, and their decay. The positions that the filters start from are not learned.
#   mask_rate: share of bases that Caduceus predicts. Of them, mask_kept stay as they are,
#       mask_random are replaced by any base, and the others by the mask.
_FILTERS = {"filter_rate": 1.0, "filter_weight_decay": 0.0}
_MASKS = {"mask_rate": 0.15, "mask_kept": 0.1, "mask_random": 0.1}
_HYENA = "arXiv 2306.15794, and the settings released with it for hg38"
_CADUCEUS = "arXiv 2403.03234, and the settings released with it for hg38"

TRAININGS: Mapping[str, TrainingPreset] = {
    "default": TrainingPreset(
        summary="HyenaDNA's, for minutes: a tenth of the steps as warm-up instead of a hundredth, "
        "down to zero, half the decay, no dropout, no clipping, float32",
        source=_HYENA,
        options=_FILTERS,
    ),
    "hyenadna": TrainingPreset(
        summary="HyenaDNA's pretraining: the filters do not decay",
        source=_HYENA,
        betas=(0.9, 0.999),
        weight_decay=0.1,
        decays="not norms",
        warmup=0.01,
        final_rate=0.1,
        clip_norm=1.0,
        precision="16-mixed",
        options={**_FILTERS, "dropout": 0.1},
    ),
    "hyena-by-caduceus": TrainingPreset(
        summary="HyenaDNA's pretraining by Caduceus's script: a tenth of warm-up, down to 1e-4",
        source="the script run_pretrain_hyena released with arXiv 2403.03234, and 2503.10622",
        weight_decay=0.1,
        decays="not norms",
        final_rate=1 / 6,
        clip_norm=1.0,
        precision="16-mixed",
        options={**_FILTERS, "dropout": 0.1},
    ),
    "caduceus-small": TrainingPreset(
        summary="Caduceus's, for minutes: twice as many bases masked and all of them hidden, so "
        "that few steps have more to learn from; down to zero, float32",
        source=_CADUCEUS,
        weight_decay=0.1,
        clip_norm=1.0,
        options={"mask_rate": 0.3, "mask_kept": 0.0, "mask_random": 0.0},
    ),
    "caduceus": TrainingPreset(
        summary="Caduceus's pretraining: 15 % of the bases masked as BERT does, down to 1e-4",
        source=_CADUCEUS,
        weight_decay=0.1,
        decays="not norms",
        final_rate=0.0125,
        clip_norm=1.0,
        precision="16-mixed",
        options=_MASKS,
    ),
    "genomic-benchmarks": TrainingPreset(
        summary="HyenaDNA's on GenomicBenchmarks, from scratch; by Caduceus too, with betas "
        "(0.9, 0.999)",
        source="arXiv 2306.15794, table 4.1, and the settings released with it",
        betas=(0.9, 0.999),
        weight_decay=0.1,
        decays="not norms",
        warmup=0.01,
        final_rate=0.1,
        clip_norm=1.0,
        options={**_FILTERS, **_MASKS},
    ),
}

_RAGOUT_SOURCE = "Debian's and Ubuntu's package ragout-examples, one complete genome a species"

DATASETS: Mapping[str, Dataset] = {
    "chloroplast": Dataset(
        summary="the chloroplast genome of Arabidopsis thaliana, 154,478 bases, annotated",
        source="GenBank NC_000932.1, as in Biopython 1.88, Tests/GenBank/NC_000932.gb",
        licence="Biopython",
        files=files.FILES["chloroplast"],
    ),
    "bacteria": Dataset(
        summary="the genomes of four bacteria, 13.1 million bases",
        source=_RAGOUT_SOURCE,
        licence="BSD-3-Clause",
        files=files.FILES["bacteria"],
        small="chloroplast",
        fetch=Fetch(
            size="18 MB",
            debian=("ragout-examples",),
            addresses={
                f"{DEBIAN}/r/ragout/ragout-examples_2.3-4_all.deb": (
                    "sha256:cbe6d0dd8b0e36ef2c93c9b9655955f42019dcd9e9b77388ee58ee54d50bd140"
                )
            },
            keep=tuple(f"{files.RAGOUT}/**/{Path(file).name}" for file in files.SPECIES.values()),
        ),
    ),
    "folder": Dataset(
        summary="your genomes, FASTA or GenBank",
        source="path: a file, or a folder of .fa .fasta .fna .gb .gbk, gzipped or not",
        licence="yours",
        files=files.FILES["folder"],
        takes_path=True,
    ),
    "hg38": Dataset(
        summary="the human genome, 3.1 billion bases, split as HyenaDNA and Caduceus do",
        source="path: a folder of hg38's FASTA and a BED file, a line: chromosome, start, end, "
        "and train, valid or test",
        licence="of the genome: free of restrictions",
        files=files.FILES["hg38"],
        small="chloroplast",
        takes_path=True,
    ),
    "species": Dataset(
        summary="which of four bacteria? stretches of 400,000 bases of each",
        source=f"{_RAGOUT_SOURCE}: the beginnings, as bacteria/NOTICE of this package says",
        licence="BSD-3-Clause",
        files=files.FILES["species"],
    ),
    "genomic-benchmarks": Dataset(
        summary="one of the GenomicBenchmarks, or any labelled sequences",
        source="path: a folder of train/CLASS/*.txt and test/CLASS/*.txt, as the package "
        "genomic-benchmarks unpacks it",
        licence="Apache-2.0",
        files=files.FILES["genomic-benchmarks"],
        small="species",
        takes_path=True,
    ),
}
