"""The layers that are compared: ours by backend, the published form, the norms, and a copy."""

import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor, nn

import dyt

COPY, AA, LAYER_NORM, PUBLISHED = "clone", "A/A", "nn.LayerNorm", "published eager"

Call = Callable[[Tensor], Tensor]


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


def fused_backend(device: torch.device) -> str:
    """The backend that "auto" takes on this device."""
    return "triton" if device.type == "cuda" else "cpu"


def layers(
    shape: tuple[int, ...], device: torch.device, dtype: torch.dtype, *, compiled: bool
) -> dict[str, tuple[Call, nn.Module]]:
    """Name -> what to call, and the module whose parameters it uses."""
    last = len(shape) == 2
    features = shape[-1] if last else shape[1]
    fused = fused_backend(device)
    made: dict[str, tuple[Call, nn.Module]] = {COPY: (torch.clone, nn.Module())}
    made[AA] = made[COPY]
    # The default backend on this device is fused, and called as a user would call it.
    tanh = dyt.DynamicTanh(features, channels_last=last)
    made[f"DyT {fused}"] = tanh, tanh
    derf = dyt.DynamicErf(features, channels_last=last)
    made[f"Derf {fused}"] = derf, derf
    made["DyT eager"] = _with_backend("eager", tanh), tanh
    published = Published(features, last)
    made[PUBLISHED] = published, published
    if compiled:
        made["published compiled"] = torch.compile(published), published
    for name, norm in {
        LAYER_NORM: nn.LayerNorm(features),
        "nn.RMSNorm": nn.RMSNorm(features),
    }.items():
        module = norm if last else ChannelsFirst(norm)
        made[name] = module, module
    if device.type == "cuda" and last and importlib.util.find_spec("liger_kernel"):
        from liger_kernel.transformers.dyt import (  # type: ignore[import-not-found]  # optional
            LigerDyT,
        )

        liger = LigerDyT(features)
        made["Liger DyT"] = liger, liger
    for _, module in made.values():
        module.to(device, dtype)
    return made


def _with_backend(name: str, layer: nn.Module) -> Call:
    """The layer, computed by this backend."""

    def run(x: Tensor) -> Tensor:
        with dyt.use_backend(name):
            y: Tensor = layer(x)
            return y

    return run
