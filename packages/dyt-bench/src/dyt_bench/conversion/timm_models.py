"""timm's architectures by name."""

from typing import Any

import timm
import torch
from torch import nn

from dyt_bench.conversion.specimen import SMALL, Specimen, count
from dyt_bench.discovery.domains import nearest
from dyt_bench.errors import UserError


def names() -> list[str]:
    listed: list[str] = timm.list_models()
    return listed


def build(name: str, *, full: bool = False) -> Specimen:
    """``name`` as timm builds it; on the meta device if it is large.

    Raises:
        UserError: no such model.
    """
    if not timm.is_model(name):
        raise UserError(f"timm has no such model{nearest(name, names())}")
    with torch.device("meta"):
        model: nn.Module = timm.create_model(name)
    if not full and count(model) <= SMALL // 3:
        model = timm.create_model(name)
    device = next(model.parameters()).device
    return Specimen(f"timm:{name}", model, tuple(_inputs(model, device)))


def _inputs(model: Any, device: torch.device) -> list[dict[str, Any]]:
    size = getattr(model, "default_cfg", {}).get("input_size", (3, 224, 224))
    x = torch.randn(2, *size, device=device)
    first = {"image_patches": x} if "naflex" in type(model).__name__.lower() else {"x": x}
    return [first, {"x": torch.randn(2, size[0], 256, 256, device=device)}]
