"""Small models of three architectures, and what stands in their norms' places."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

import dyt

NATIVE, AUTO, OPERATOR, FORMULA, IDENTITY = "native", "auto", "operator", "formula", "identity"
VARIANTS = (NATIVE, AUTO, OPERATOR, FORMULA, IDENTITY)


def vit() -> tuple[nn.Module, Tensor]:
    import timm

    options: dict[str, Any] = {"img_size": 32, "patch_size": 4, "depth": 3, "num_classes": 10}
    return timm.create_model("vit_tiny_patch16_224", **options), torch.randn(16, 3, 32, 32)


def convnext() -> tuple[nn.Module, Tensor]:
    import timm

    model = timm.create_model("convnext_atto", depths=(1, 1, 2, 1), num_classes=10)
    return model, torch.randn(8, 3, 64, 64)


def llama() -> tuple[nn.Module, Tensor]:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 688, "vocab_size": 512}
    config = LlamaConfig(**sizes, num_hidden_layers=3, num_attention_heads=4, use_cache=False)
    return LlamaForCausalLM(config), torch.randint(512, (4, 128))


MODELS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "vit": vit,
    "convnext": convnext,
    "llama": llama,
}


class Loss(nn.Module):
    """A number to differentiate: the mean square of a model's output."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        y = self.model(x)
        return getattr(y, "logits", y).float().square().mean()  # type: ignore[no-any-return]


def build(model: str, variant: str) -> tuple[nn.Module, Tensor]:
    """The model with what ``variant`` puts in its norms' places, and its input."""
    torch.manual_seed(0)
    made, x = MODELS[model]()
    if variant == IDENTITY:
        made = dyt.convert(made, "identity")
    elif variant != NATIVE:
        made = dyt.convert(made, "dyt", recipe="swap-only")
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    return Loss(made).to(device), x.to(device)


def backend(variant: str, device: torch.device) -> AbstractContextManager[None]:
    """What computes the layers of a variant, where they have a choice."""
    if variant == OPERATOR:
        return dyt.use_backend("triton" if device.type == "cuda" else "cpu")
    return dyt.use_backend("eager") if variant == FORMULA else nullcontext()
