"""ViT and ConvNeXt by name: small ones at the images' own size, the papers' for 224x224."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import timm
from timm.models.convnext import ConvNeXt
from timm.models.vision_transformer import VisionTransformer
from torch import nn


@dataclass(frozen=True)
class Architecture:
    """How to build a model, and the images it takes."""

    pixels: int | None  # a side; None: as many as the images have
    build: Callable[[int, int, int, float], nn.Module]  # (channels, side, classes, drop path)


def _vit(width: int) -> Architecture:
    def build(channels: int, pixels: int, classes: int, drop_path: float) -> nn.Module:
        return VisionTransformer(
            img_size=pixels,
            patch_size=4,
            in_chans=channels,
            num_classes=classes,
            embed_dim=width,
            depth=4,
            num_heads=4,
            class_token=False,
            global_pool="avg",
            drop_path_rate=drop_path,
            # The original's start, Xavier-uniform: timm's standard deviation of 0.02 suits widths
            # of hundreds, and with it these need a third more steps.
            weight_init="jax",
        )

    return Architecture(None, build)


def _convnext(channels: int, pixels: int, classes: int, drop_path: float) -> nn.Module:
    return ConvNeXt(
        in_chans=channels,
        num_classes=classes,
        depths=(1, 1, 2, 1),
        dims=(16, 32, 64, 128),
        patch_size=max(1, pixels // 8),  # 8 places a side; three stages halve them
        drop_path_rate=drop_path,
    )


def _library(name: str, **options: Any) -> Architecture:
    """timm's model of that name, without its weights."""

    def build(channels: int, pixels: int, classes: int, drop_path: float) -> nn.Module:
        return timm.create_model(
            name, in_chans=channels, num_classes=classes, drop_path_rate=drop_path, **options
        )

    return Architecture(224, build)


ARCHITECTURES: Mapping[str, Architecture] = {
    "vit": _vit(64),
    "vit-w32": _vit(32),
    "vit-w128": _vit(128),
    "convnext": Architecture(None, _convnext),
    **{
        f"vit-{size}": _library(f"vit_{size}_patch16_224", global_pool="avg")
        for size in ("tiny", "small", "base", "large")
    },
    **{
        f"convnext-{size}": _library(f"convnext_{size}")
        for size in ("atto", "femto", "pico", "nano", "tiny", "small", "base", "large")
    },
}
