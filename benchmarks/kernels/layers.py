"""The layers that are compared: DyT as imported, the formula, the norms, and a copy."""

import importlib.util

import torch
from benchmarks.kernels.cases import TYPES, Case
from torch import Tensor, nn

import dyt

LAYER_NORM, AA, RMS_NORM, DYT, DERF, FORMULA, COPY = (
    "LayerNorm", "A/A", "RMSNorm", "DyT", "Derf", "formula", "clone",
)  # fmt: skip


class Published(nn.Module):
    """The formula as arXiv 2503.10622 prints it: three passes over memory."""

    def __init__(self, features: int, channels_last: bool) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((1,), 0.5))
        shape = (features,) if channels_last else (features, 1, 1)
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * torch.tanh(self.alpha * x) + self.bias


class ChannelsFirst(nn.Module):
    """A norm over the channels of (N, C, H, W), by moving them last and back."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x.movedim(1, -1))
        return y.movedim(-1, 1)


class Copy(nn.Module):
    """The least that any layer can do: read once, write once."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.clone(x)


def layers(case: Case, device: torch.device) -> dict[str, nn.Module]:
    """Name -> layer. A norm that takes no mixed types gets parameters of x's type."""
    features, last = case.features, case.channels_last
    norms = {LAYER_NORM: nn.LayerNorm(features), RMS_NORM: nn.RMSNorm(features)}
    made: dict[str, nn.Module] = {
        DYT: dyt.DynamicTanh(features, channels_last=last),
        DERF: dyt.DynamicErf(features, channels_last=last),
        FORMULA: Published(features, last),
        COPY: Copy(),
        **{name: norm if last else ChannelsFirst(norm) for name, norm in norms.items()},
    }
    if device.type == "cuda" and last and importlib.util.find_spec("liger_kernel"):
        from liger_kernel.transformers.dyt import (  # type: ignore[import-not-found]  # optional
            LigerDyT,
        )

        made["Liger DyT"] = LigerDyT(features)
    x_type, own_type = (getattr(torch, name) for name in TYPES[case.types])
    for name, layer in made.items():
        # A formula in PyTorch's operators would promote y to the wider type.
        layer.to(device, x_type if name in (LAYER_NORM, RMS_NORM, FORMULA) else own_type)
    return {**made, AA: made[LAYER_NORM]}
