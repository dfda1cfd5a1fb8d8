"""ViT and ConvNeXt at the suite's sizes, built by timm."""

from collections.abc import Callable

from timm.models.convnext import ConvNeXt
from timm.models.vision_transformer import VisionTransformer
from torch import nn


def _vit(channels: int, classes: int) -> nn.Module:
    return VisionTransformer(
        img_size=32,
        patch_size=4,
        in_chans=channels,
        num_classes=classes,
        embed_dim=96,
        depth=6,
        num_heads=3,
        class_token=False,
        global_pool="avg",
    )


def _convnext(channels: int, classes: int) -> nn.Module:
    return ConvNeXt(
        in_chans=channels,
        num_classes=classes,
        depths=(2, 2, 4, 2),
        dims=(16, 32, 64, 128),
        patch_size=2,
    )


# name -> (channels, classes) -> model on 32x32 images
MODELS: dict[str, Callable[[int, int], nn.Module]] = {"vit": _vit, "convnext": _convnext}
