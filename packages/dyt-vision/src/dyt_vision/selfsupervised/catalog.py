"""Models with their budgets in both phases, training presets and data sets of MAE and DINO."""

from dyt_bench.plugin.domain import Model, TrainingPreset
from dyt_images.catalog import image_sets

_MAE, _DINO = "arXiv 2111.06377", "arXiv 2104.14294"
_BATCH = 1024  # images of a step of fine-tuning
_EPOCH = 1_281_167 // _BATCH  # steps


def _small(summary: str, learning_rate: float) -> Model:
    """At the images' own size, in sixteen patches."""
    return Model(
        summary=summary,
        library="timm",
        native_norm="LayerNorm",
        steps=3000,
        batch_size=32,
        learning_rate=learning_rate,
        reference_steps=3000,
    )


def _paper(
    summary: str,
    training: str,
    *,
    epochs: int,
    images: int,
    fine_tuning: int,
    learning_rate: float = 2e-3,
) -> Model:
    """``epochs`` of pretraining with so many images a step, then those of fine-tuning.

    The rate is that of fine-tuning: for 1,024 images four times what is named for 256.
    """
    steps = epochs * _EPOCH * _BATCH // images + fine_tuning * _EPOCH
    return Model(
        summary=summary,
        library="timm",
        native_norm="LayerNorm",
        steps=steps,
        batch_size=_BATCH,
        learning_rate=learning_rate,
        training=training,
        small=training.partition("-")[0],
    )


MODELS = {
    "mae": _small("masked autoencoder: ViT, 4 layers of 64, and a decoder of 2 layers of 32", 4e-3),
    "dino": _small("self-distillation: ViT, 4 layers of 64, and a head of 128 prototypes", 3e-3),
    "mae-base": _paper(
        "MAE ViT-B/16, decoder of 8 layers of 512", "mae-base", epochs=800, images=4096,
        fine_tuning=100,
    ),
    "mae-large": _paper(
        "MAE ViT-L/16, decoder of 8 layers of 512", "mae-large", epochs=800, images=4096,
        fine_tuning=50, learning_rate=4e-3,
    ),
    "dino-base-p16": _paper(
        "DINO ViT-B/16, 65,536 prototypes", "dino-base-p16", epochs=400, images=1024,
        fine_tuning=100,
    ),
    "dino-base-p8": _paper(
        "DINO ViT-B/8, 65,536 prototypes", "dino-base-p8", epochs=300, images=1024,
        fine_tuning=100,
    ),
}  # fmt: skip


# Options of a preset:
#   pretraining_share, pretraining_rate and the like: as `dyt_bench.plugin.phases` reads them;
#   groups: images that pretraining sees in place of each of fine-tuning;
#   layer_decay: in fine-tuning, the factor on the rate from a layer to the one below it;
#   drop_path, label_smoothing, mixup, cutmix: of `dyt_vision.module.Classifier`, in fine-tuning;
#   auto_augment, random_erase: of `dyt_vision.data.datamodule.VisionData`, in both phases;
#   mask_rate: of `mae.MaskedAutoencoder`;
#   local_crops, momentum, teacher_temperature, first_temperature, temperature_warmup, boundary: of
#     `dino.SelfDistillation`.
def _fine_tuned(
    summary: str, source: str, *, rate: float = 2e-3, epochs: int = 100, **changes: object
) -> TrainingPreset:
    """Pretraining as the options say, then MAE's fine-tuning of ViT-B at ``rate``."""
    options: dict[str, float | str] = {
        "layer_decay": 0.65,
        "drop_path": 0.1,
        "label_smoothing": 0.1,
        "mixup": 0.8,
        "cutmix": 1.0,
        "auto_augment": "rand-m9-mstd0.5-inc1",
        "random_erase": 0.25,
        **changes,  # type: ignore[dict-item]
    }
    return TrainingPreset(
        summary=summary,
        source=source,
        betas=(0.9, 0.999),
        weight_decay=0.05,
        warmup=5 / epochs,
        final_rate=1e-6 / rate,
        precision="bf16-mixed",
        options=options,
    )


def _mae(
    summary: str, *, epochs: int = 100, rate: float = 2e-3, **changes: object
) -> TrainingPreset:
    """800 epochs at 1.5e-4 for 256 images, 4,096 of them a step, then ``epochs`` at ``rate``."""
    pretraining = 800 / 4  # in epochs of fine-tuning, of as many steps
    return _fine_tuned(
        summary,
        f"{_MAE}, tables 8 and 9, and its code; the rate of pretraining is arXiv 2503.10622's, too",
        rate=rate,
        epochs=epochs,
        groups=4,
        mask_rate=0.75,
        pretraining_share=pretraining / (pretraining + epochs),
        pretraining_rate=2.4e-3 / rate,
        pretraining_beta2=0.95,
        pretraining_warmup=40 / 800,
        pretraining_final_rate=0.0,
        **changes,
    )


def _dino(summary: str, *, epochs: int, rate: float, temperature: float) -> TrainingPreset:
    """``epochs`` at ``rate`` for 256 images, 1,024 of them a step, then MAE's fine-tuning."""
    rate = 4 * rate
    return _fine_tuned(
        summary,
        f"{_DINO} with the arguments of arXiv 2503.10622's code, and {_MAE} for fine-tuning",
        groups=1,
        local_crops=10,
        boundary=0.25,
        momentum=0.996,
        first_temperature=temperature,
        teacher_temperature=0.07,
        temperature_warmup=50 / epochs,
        pretraining_share=epochs / (epochs + 100),
        pretraining_rate=rate / 2e-3,
        pretraining_weight_decay=0.04,
        pretraining_warmup=10 / epochs,
        pretraining_final_rate=2e-6 / rate,
    )


TRAININGS = {
    "default": TrainingPreset(
        summary="AdamW and cosine in both phases, for minutes: DINO's crops; in fine-tuning mixup, "
        "cutmix and smoothing, without which so few images are learned by heart",
        source=f"{_MAE}, table 9, and {_DINO}",
        weight_decay=0.05,
        options={
            "label_smoothing": 0.1,
            "mixup": 0.8,
            "cutmix": 1.0,
            "pretraining_share": 0.2,
            "pretraining_rate": 0.75,
            "groups": 1,
            "mask_rate": 0.75,
            "local_crops": 2,
            "momentum": 0.99,
            "teacher_temperature": 0.04,
        },
    ),
    "mae-base": _mae("MAE's of ViT-B, 800 epochs, then 100 of fine-tuning"),
    "mae-large": _mae(
        "MAE's of ViT-L, 800 epochs, then 50 of fine-tuning",
        epochs=50,
        rate=4e-3,
        layer_decay=0.75,
        drop_path=0.2,
    ),
    "dino-base-p16": _dino(
        "DINO's of ViT-B/16, 400 epochs, then 100 of fine-tuning",
        epochs=400,
        rate=7.5e-4,
        temperature=0.04,
    ),
    "dino-base-p8": _dino(
        "DINO's of ViT-B/8, 300 epochs, then 100 of fine-tuning",
        epochs=300,
        rate=5e-4,
        temperature=0.03,
    ),
}

DATASETS = image_sets("vision")
