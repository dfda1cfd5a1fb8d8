"""Models with their budgets, training presets and data sets of vision, by name. No torch."""

from dyt_bench.plugin.domain import Model, TrainingPreset
from dyt_images.catalog import image_sets

_IMAGENET_STEPS = 300 * (1_281_167 // 4096)  # 300 epochs
_CONVNEXT_PAPER = "arXiv 2201.03545, table 5, used by arXiv 2503.10622 for ViT too"


def _small(summary: str, learning_rate: float, *, steps: int) -> Model:
    """At the images' own size, for a core's quarter of a minute."""
    return Model(
        summary=summary,
        library="timm",
        native_norm="LayerNorm",
        steps=steps,
        batch_size=32,
        learning_rate=learning_rate,
    )


def _imagenet(small: str, summary: str, training: str) -> Model:
    """At the paper's size and budget."""
    return Model(
        summary=summary,
        library="timm",
        native_norm="LayerNorm",
        steps=_IMAGENET_STEPS,
        batch_size=4096,
        learning_rate=4e-3,
        training=training,
        small=small,
    )


MODELS = {
    "vit": _small("ViT, 4 layers of 64, patches of 4, mean-pooled", 6e-3, steps=1000),
    "convnext": _small("ConvNeXt, widths 16-32-64-128, 8x8 places", 4e-3, steps=700),
    "vit-w32": _small("the same ViT at half the width, 32", 6e-3, steps=1000),
    "vit-w128": _small("the same ViT at twice the width, 128", 6e-3, steps=1000),
    "vit-tiny": _imagenet("vit", "ViT-Ti/16, 12 layers of 192, 224x224, 5.7 M", "imagenet"),
    "vit-small": _imagenet("vit", "ViT-S/16, 12 layers of 384, 224x224, 22 M", "imagenet"),
    "vit-base": _imagenet("vit", "ViT-B/16, 12 layers of 768, 224x224, 86 M", "imagenet"),
    "vit-large": _imagenet(
        "vit", "ViT-L/16, 24 layers of 1,024, 224x224, 304 M", "imagenet-vit-large"
    ),
    "convnext-atto": _imagenet(
        "convnext", "ConvNeXt-A, widths from 40, 224x224, 3.7 M", "imagenet"
    ),
    "convnext-femto": _imagenet(
        "convnext", "ConvNeXt-F, widths from 48, 224x224, 5.2 M", "imagenet"
    ),
    "convnext-pico": _imagenet(
        "convnext", "ConvNeXt-P, widths from 64, 224x224, 9.1 M", "imagenet"
    ),
    "convnext-nano": _imagenet(
        "convnext", "ConvNeXt-N, widths from 80, 224x224, 15.6 M", "imagenet"
    ),
    "convnext-tiny": _imagenet(
        "convnext", "ConvNeXt-T, widths from 96, 224x224, 28.6 M", "imagenet"
    ),
    "convnext-small": _imagenet(
        "convnext", "ConvNeXt-S, 27 blocks deep, 50 M", "imagenet-convnext-small"
    ),
    "convnext-base": _imagenet(
        "convnext", "ConvNeXt-B, widths from 128, 89 M", "imagenet-convnext-large"
    ),
    "convnext-large": _imagenet(
        "convnext", "ConvNeXt-L, widths from 192, 198 M", "imagenet-convnext-large"
    ),
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
