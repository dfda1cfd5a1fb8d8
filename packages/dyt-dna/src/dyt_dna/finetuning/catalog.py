"""Models with their budgets in both phases, training presets and data sets of fine-tuning."""

from collections.abc import Mapping
from dataclasses import replace

from dyt_bench.plugin.domain import Dataset, Model, TrainingPreset
from dyt_dna import catalog
from dyt_dna.finetuning import files

_PRETRAINING_STEPS = 10_000  # of 2^20 bases, as Caduceus's script
# 10 epochs of human_nontata_promoters, 27,097 sequences, in batches of 256
_FINE_TUNING_STEPS = 1060
_BATCH = 256


def _published(name: str, learning_rate: float, training: str) -> Model:
    """A published size, in its own steps of pretraining and those of fine-tuning."""
    own = catalog.MODELS[name]
    return replace(
        own,
        summary=f"{own.summary}; pretrained, then fine-tuned",
        steps=_PRETRAINING_STEPS + _FINE_TUNING_STEPS,
        batch_size=_BATCH,
        learning_rate=learning_rate,
        training=training,
    )


# Names are those of the shapes in `dyt_dna.shapes`.
MODELS: Mapping[str, Model] = {
    "hyena-w64": Model(
        summary="HyenaDNA, 2 layers of 64, 128 bases: a third of the steps is pretraining",
        library="dyt-dna",
        native_norm="LayerNorm",
        steps=600,
        batch_size=16,
        learning_rate=4e-3,
    ),
    "caduceus": Model(
        summary="Caduceus-Ph, 2 layers of 64, 256 bases: a third of the steps is pretraining",
        library="transformers",
        native_norm="RMSNorm",
        steps=300,
        batch_size=8,
        learning_rate=8e-3,
    ),
    "hyena-w256-1k": _published("hyena-w256-1k", 6e-4, "hyena-after-hg38"),
    "caduceus-ph-1k": _published("caduceus-ph-1k", 2e-3, "caduceus-after-hg38"),
}

# Options of a preset: filter_rate, filter_weight_decay, mask_rate, mask_kept, mask_random and
# dropout as `dyt_dna.catalog` says, of both phases;
#   pretraining_share, pretraining_rate and the like: as `dyt_bench.plugin.phases` reads them;
#   windows: of the genome that pretraining sees in place of each sequence of a batch.
_MASKS = {"mask_rate": 0.15, "mask_kept": 0.1, "mask_random": 0.1}
_FILTERS = {"filter_rate": 1.0, "filter_weight_decay": 0.0}
_SHARE = _PRETRAINING_STEPS / (_PRETRAINING_STEPS + _FINE_TUNING_STEPS)
_BENCHMARKS = catalog.TRAININGS["genomic-benchmarks"]
_SOURCE = "the scripts released with arXiv 2403.03234 for hg38 and for GenomicBenchmarks"


def _after_hg38(summary: str, rate: float, final_rate: float) -> TrainingPreset:
    """Caduceus's pretraining, then the preset "genomic-benchmarks"."""
    return replace(
        _BENCHMARKS,
        summary=summary,
        source=_SOURCE,
        options={
            **_BENCHMARKS.options,
            "windows": 2**20 // 1024 // _BATCH,
            "pretraining_share": _SHARE,
            "pretraining_rate": rate,
            "pretraining_beta2": 0.95,
            "pretraining_warmup": 0.1,
            "pretraining_final_rate": final_rate,
        },
    )


TRAININGS: Mapping[str, TrainingPreset] = {
    "default": TrainingPreset(
        summary="HyenaDNA's, for minutes, in both phases",
        source="arXiv 2306.15794",
        options={**_FILTERS, **_MASKS, "windows": 1, "pretraining_share": 1 / 3},
    ),
    "hyena-after-hg38": _after_hg38(
        "HyenaDNA on hg38 by Caduceus's script, then on GenomicBenchmarks", 1.0, 1 / 6
    ),
    "caduceus-after-hg38": _after_hg38(
        "Caduceus on hg38 at four times the rate, then on GenomicBenchmarks", 4.0, 0.0125
    ),
}

DATASETS: Mapping[str, Dataset] = {
    "species": replace(
        catalog.DATASETS["species"],
        summary="which of four bacteria? after pretraining on the same 400,000 bases of each",
    ),
    "genomic-benchmarks": replace(
        catalog.DATASETS["genomic-benchmarks"],
        summary="one of the GenomicBenchmarks, after pretraining on its own training sequences",
    ),
    "hg38-genomic-benchmarks": Dataset(
        summary="one of the GenomicBenchmarks, after pretraining on the human genome",
        source="path: a folder with the two folders hg38 and genomic-benchmarks, each as the data "
        "set of the domain dna with its name",
        licence="of the genome: free of restrictions; Apache-2.0",
        files=files.genome_and_classes,
        takes_path=True,
        small="species",
    ),
}
