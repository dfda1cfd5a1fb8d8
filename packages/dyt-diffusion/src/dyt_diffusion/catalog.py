"""Models with their budgets, training presets and data sets of diffusion, by name. No torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dyt_bench.plugin.domain import DataError, Model, TrainingPreset
from dyt_bench.plugin.files import matching
from dyt_images.catalog import image_sets
from dyt_images.files import imagenet


def _paper(summary: str) -> Model:
    return Model(
        summary=summary,
        library="diffusers",
        native_norm="LayerNorm",
        steps=400_000,
        batch_size=256,
        learning_rate=4e-4,  # arXiv 2503.10622, table 12: for LayerNorm and DyT, at all three sizes
        training="dit",
        small="dit",
    )


MODELS = {
    "dit": Model(
        summary="DiT, 4 layers of 64, patches of 2 or more, at most 64 tokens; in its budget it "
        "denoises better than pixel by pixel, and its samples are not recognised yet",
        library="diffusers",
        native_norm="LayerNorm",
        steps=500,
        batch_size=32,
        learning_rate=4e-3,
    ),
    "dit-b4": _paper("DiT-B/4, 12 layers of 768, patches of 4"),
    "dit-l4": _paper("DiT-L/4, 24 layers of 1,024, patches of 4"),
    "dit-xl2": _paper("DiT-XL/2, 28 layers of 1,152, patches of 2"),
}

# Options are documented where they are read: "flip" in `tasks.build_data`, the rest
# in `evaluation.evaluate`.
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
        source="arXiv 2212.09748, section 4, and 2503.10622, table 12, for the rate",
        betas=(0.9, 0.999),
        weight_decay=0.0,
        warmup=0.0,
        schedule="constant",
        ema_decay=0.9999,
        options={"flip": 0.5, "samples": 50_000, "sampling_steps": 250},
        small="dit-shrunk",
    ),
}
TRAININGS["dit-shrunk"] = replace(
    TRAININGS["dit"],
    summary="DiT's, evaluated on 20 samples of 4 steps: a trial, for --shrink",
    options={"flip": 0.5, "samples": 20, "sampling_steps": 4},
    small="",
)


def _imagenet_and_autoencoder(path: Path | None) -> list[Path]:
    images = imagenet(path)
    assert path is not None  # or `imagenet` has raised
    vae = path / "vae"
    autoencoder = matching(vae, ["*.json"]) + matching(vae, ["*.safetensors"])
    if not autoencoder:
        raise DataError(
            f"{vae} holds no autoencoder: save one there with diffusers' "
            "AutoencoderKL.save_pretrained"
        )
    return images + autoencoder


_SETS = image_sets("diffusion")
DATASETS = _SETS | {
    "imagenet": replace(
        _SETS["imagenet"],
        summary="ImageNet-1K, or your own large images, as an autoencoder's latents of 256x256",
        source="path: train/CLASS/, val/CLASS/, and vae/ as saved by diffusers' AutoencoderKL",
        files=_imagenet_and_autoencoder,
    ),
    "folder": replace(_SETS["folder"], summary="your images at 16x16, one folder for each class"),
}
