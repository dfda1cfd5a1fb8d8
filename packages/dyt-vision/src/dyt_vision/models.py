"""ViT and ConvNeXt by name: small ones for 32x32 pixels, the papers' for 224x224."""

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

    pixels: int  # a side
    build: Callable[[int, int, float], nn.Module]  # (channels, classes, drop path) -> model


def _vit(width: int) -> Architecture:
    def build(channels: int, classes: int, drop_path: float) -> nn.Module:
        return VisionTransformer(
            img_size=32,
            patch_size=4,
            in_chans=channels,
            num_classes=classes,
            embed_dim=width,
            depth=6,
            num_heads=3,
            class_token=False,
            global_pool="avg",
            drop_path_rate=drop_path,
        )

    return Architecture(32, build)


def _convnext(channels: int, classes: int, drop_path: float) -> nn.Module:
    return ConvNeXt(
        in_chans=channels,
        num_classes=classes,
        depths=(2, 2, 4, 2),
        dims=(16, 32, 64, 128),
        patch_size=2,
        drop_path_rate=drop_path,
    )


def _library(name: str, **options: Any) -> Architecture:
    """timm's model of that name, without its weights."""

    def build(channels: int, classes: int, drop_path: float) -> nn.Module:
        return timm.create_model(
            name, in_chans=channels, num_classes=classes, drop_path_rate=drop_path, **options
        )

    return Architecture(224, build)


ARCHITECTURES: Mapping[str, Architecture] = {
    "vit": _vit(96),
    "vit-w48": _vit(48),
    "vit-w192": _vit(192),
    "convnext": Architecture(32, _convnext),
    **{
        f"vit-{size}": _library(f"vit_{size}_patch16_224", global_pool="avg")
        for size in ("tiny", "small", "base", "large")
    },
    **{
        f"convnext-{size}": _library(f"convnext_{size}")
        for size in ("atto", "femto", "pico", "nano", "tiny", "small", "base", "large")
    },
}
