"""How the models are trained: the papers' recipes, and what is left of them at small size.

Options, all optional:

- ``dropout``: share of HyenaDNA's embedding dropped in training.
- ``filter_rate``, ``filter_weight_decay``: the learning rate of the filters' MLPs as a share of
  the peak, and their decay. The positions they start from are not learned at all.
- ``mask_rate``: share of bases that Caduceus is to guess; of them ``mask_kept`` are left as they
  are, ``mask_random`` replaced by any base, and the rest by the mask.
"""

from collections.abc import Mapping

from dyt_bench.plugin.domain import TrainingPreset

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
        warmup=0.01,
        final_rate=0.1,
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
        warmup=0.01,
        final_rate=0.1,
        clip_norm=1.0,
        options={**_FILTERS, **_MASKS},
    ),
}
