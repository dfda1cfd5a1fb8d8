"""Training recipes: the paper's, and what of it fits a run of seconds."""

from dyt_bench.plugin.domain import TrainingPreset

# What the options mean is said where they are read: "flip" in `data.image_data`, the rest in
# `evaluation.evaluate`.
TRAININGS = {
    "default": TrainingPreset(
        summary="DiT's for few steps: with warm-up, a larger rate and a moving average over "
        "33 steps; evaluated on 100 samples of 20 steps",
        source="arXiv 2212.09748, section 4",
        betas=(0.9, 0.999),
        weight_decay=0.0,
        schedule="constant",
        ema_decay=0.97,
        options={"flip": 0.5, "samples": 100, "sampling_steps": 20},
    ),
    "dit": TrainingPreset(
        summary="DiT's: AdamW at a constant rate, no weight decay, moving average, mirrored images",
        source="arXiv 2212.09748, section 4",
        betas=(0.9, 0.999),
        weight_decay=0.0,
        warmup=0.0,
        schedule="constant",
        ema_decay=0.9999,
        options={"flip": 0.5, "samples": 50_000, "sampling_steps": 250},
    ),
}
