"""MAE and DINO by name: small ones at the images' own size, the papers' for 224x224."""

from collections.abc import Callable, Mapping
from typing import Any

from timm.models.vision_transformer import VisionTransformer

from dyt_vision.selfsupervised.dino import SelfDistillation
from dyt_vision.selfsupervised.mae import MaskedAutoencoder

_PLACES = 4  # patches a side of the small models
_OF_DINO = (
    "momentum",
    "teacher_temperature",
    "first_temperature",
    "temperature_warmup",
    "boundary",
)


def _encoder(
    width: int, depth: int, heads: int, patch: int | None, *, sizes: bool
) -> Callable[[int, int, int, float], VisionTransformer]:
    """A ViT that classifies the mean of its outputs, normalized before.

    Args:
        patch: pixels a side; None: as many as make four patches a side.
        sizes: whether images may have several sizes.
    """

    def build(channels: int, pixels: int, classes: int, drop_path: float) -> VisionTransformer:
        return VisionTransformer(
            img_size=pixels,
            patch_size=patch or max(1, pixels // _PLACES),
            in_chans=channels,
            num_classes=classes,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            global_pool="avg",
            fc_norm=False,
            drop_path_rate=drop_path,
            dynamic_img_size=sizes,
            weight_init="jax",
        )

    return build


Objective = MaskedAutoencoder | SelfDistillation
# (channels, side, classes, drop path, options of the objective) -> a model
Build = Callable[[int, int, int, float, Mapping[str, float]], Objective]


def _mae(
    width: int, depth: int, heads: int, patch: int | None, decoder: tuple[int, int, int]
) -> Build:
    encoder = _encoder(width, depth, heads, patch, sizes=False)

    def build(
        channels: int, pixels: int, classes: int, drop_path: float, options: Mapping[str, float]
    ) -> Objective:
        vit = encoder(channels, pixels, classes, drop_path)
        return MaskedAutoencoder(vit, *decoder, mask_rate=options.get("mask_rate", 0.75))

    return build


def _dino(
    width: int, depth: int, heads: int, patch: int | None, head: tuple[int, int, int]
) -> Build:
    encoder = _encoder(width, depth, heads, patch, sizes=True)

    def build(
        channels: int, pixels: int, classes: int, drop_path: float, options: Mapping[str, float]
    ) -> Objective:
        given: dict[str, Any] = {name: options[name] for name in _OF_DINO if name in options}
        crops = int(options.get("local_crops", 8))
        vit = encoder(channels, pixels, classes, drop_path)
        return SelfDistillation(vit, *head, local_crops=crops, **given)

    return build


# Name -> pixels a side, None: as many as the images have; and how it is built.
ARCHITECTURES: Mapping[str, tuple[int | None, Build]] = {
    "mae": (None, _mae(64, 4, 4, None, (32, 2, 4))),
    "dino": (None, _dino(64, 4, 4, None, (128, 128, 32))),
    "mae-base": (224, _mae(768, 12, 12, 16, (512, 8, 16))),
    "mae-large": (224, _mae(1024, 24, 16, 16, (512, 8, 16))),
    "dino-base-p16": (224, _dino(768, 12, 12, 16, (65_536, 2048, 256))),
    "dino-base-p8": (224, _dino(768, 12, 12, 8, (65_536, 2048, 256))),
}
