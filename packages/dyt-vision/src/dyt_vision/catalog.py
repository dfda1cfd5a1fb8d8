"""Models with their budgets, training presets and data sets of vision, by name. No torch."""

from dyt_bench.plugin.domain import Model, TrainingPreset
from dyt_images.catalog import image_sets

_IMAGENET_STEPS = 300 * (1_281_167 // 4096)  # 300 epochs
_CONVNEXT_PAPER = "arXiv 2201.03545, table 5, used by arXiv 2503.10622 for ViT too"


def _small(summary: str, learning_rate: float, *, steps: int = 150, batch_size: int = 32) -> Model:
    return Model(
        summary=summary,
        library="timm",
        native_norm="LayerNorm",
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
    )


def _imagenet(summary: str, training: str) -> Model:
    """At the paper's size and budget."""
    return Model(
        summary=summary,
        library="timm",
        native_norm="LayerNorm",
        steps=_IMAGENET_STEPS,
        batch_size=4096,
        learning_rate=4e-3,
        training=training,
    )


MODELS = {
    "vit": _small("ViT, 6 layers of 96, patches of 4 on 32x32, mean-pooled", 1e-3),
    # Its later layers are so small that with 32 images most of a norm's time is Python's.
    "convnext": _small(
        "ConvNeXt, widths 16-32-64-128, patches of 2 on 32x32", 4e-3, steps=100, batch_size=128
    ),
    "vit-w48": _small("the same ViT at half the width, 48", 1e-3),
    "vit-w192": _small("the same ViT at twice the width, 192", 1e-3),
    "vit-tiny": _imagenet("ViT-Ti/16, 12 layers of 192, 224x224, 5.7 M", "imagenet"),
    "vit-small": _imagenet("ViT-S/16, 12 layers of 384, 224x224, 22 M", "imagenet"),
    "vit-base": _imagenet("ViT-B/16, 12 layers of 768, 224x224, 86 M", "imagenet"),
    "vit-large": _imagenet("ViT-L/16, 24 layers of 1,024, 224x224, 304 M", "imagenet-vit-large"),
    "convnext-atto": _imagenet("ConvNeXt-A, widths from 40, 224x224, 3.7 M", "imagenet"),
    "convnext-femto": _imagenet("ConvNeXt-F, widths from 48, 224x224, 5.2 M", "imagenet"),
    "convnext-pico": _imagenet("ConvNeXt-P, widths from 64, 224x224, 9.1 M", "imagenet"),
    "convnext-nano": _imagenet("ConvNeXt-N, widths from 80, 224x224, 15.6 M", "imagenet"),
    "convnext-tiny": _imagenet("ConvNeXt-T, widths from 96, 224x224, 28.6 M", "imagenet"),
    "convnext-small": _imagenet("ConvNeXt-S, 27 blocks deep, 50 M", "imagenet-convnext-small"),
    "convnext-base": _imagenet("ConvNeXt-B, widths from 128, 89 M", "imagenet-convnext-large"),
    "convnext-large": _imagenet("ConvNeXt-L, widths from 192, 198 M", "imagenet-convnext-large"),
}


def _preset(summary: str, drop_path: float, **changes: object) -> TrainingPreset:
    """ConvNeXt's preset for ImageNet-1K; models differ in the rate of dropped paths."""
    fields: dict[str, object] = {
        "source": _CONVNEXT_PAPER,
        "betas": (0.9, 0.999),
        "weight_decay": 0.05,
        "warmup": 20 / 300,
        "final_rate": 1e-6 / 4e-3,
        "precision": "bf16-mixed",
        "ema_decay": 0.9999,
        "options": {
            "drop_path": drop_path,
            "label_smoothing": 0.1,
            "mixup": 0.8,
            "cutmix": 1.0,
            "auto_augment": "rand-m9-mstd0.5-inc1",
            "random_erase": 0.25,
        },
    }
    return TrainingPreset(summary=summary, **(fields | changes))  # type: ignore[arg-type]


TRAININGS = {
    "default": TrainingPreset(
        summary="ConvNeXt's AdamW and cosine for minutes: beta2 0.95 and warm-up over a tenth "
        "for few steps; neither augmentation nor averaging, which pay over many epochs only",
        source=_CONVNEXT_PAPER,
        weight_decay=0.05,
    ),
    "imagenet": _preset("ConvNeXt's, 300 epochs of ImageNet-1K, paths dropped 0.1", 0.1),
    "imagenet-vit-large": _preset("the same for ViT-L, beta2 0.95", 0.4, betas=(0.9, 0.95)),
    "imagenet-convnext-small": _preset("the same for ConvNeXt-S, paths dropped 0.4", 0.4),
    "imagenet-convnext-large": _preset("the same for ConvNeXt-B and -L, paths dropped 0.5", 0.5),
}

DATASETS = image_sets("vision")
