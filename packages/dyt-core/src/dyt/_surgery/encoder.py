"""Let PyTorch's encoder call the layers that stand in for its norms.

In eval mode `torch.nn.TransformerEncoderLayer` hands the weight, bias and eps of its norms to a
kernel that computes LayerNorms, and `torch.nn.TransformerEncoder` packs padded batches for it. Both
read these attributes whatever the class of the norms.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dyt.variants import LayerNorm

_PACKED = "_dyt_packed"  # of an encoder that packed padded batches before the swap


def make_readable(layer: nn.Module) -> None:
    """Give ``layer`` the attributes that are read and that its class lacks.

    With any of them the kernel is not used: NaN is not the eps of the other norm, and a `_StandIn`
    is no plain tensor.
    """
    lacking = {
        "weight": torch.ones(()).as_subclass(_StandIn),
        "bias": torch.zeros(()).as_subclass(_StandIn),
        "eps": math.nan,
    }
    layer.__dict__.update({k: v for k, v in lacking.items() if not hasattr(layer, k)})


def keep_from_kernel(model: nn.Module, swapped: Callable[[nn.Module], bool]) -> None:
    """Have the encoder layers of ``model`` call norms that are ``swapped``, with padded batches.

    Called after every swap and its undoing. An encoder of the model does not pack. Hooks undo the
    packing of one that the model is only a part of; and a layer with hooks does not use the kernel.
    """

    def other(norm: nn.Module) -> bool:
        return swapped(norm) and not _as_native(norm)

    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            _unhook(module)
            if other(module.norm1) or other(module.norm2):
                module.register_forward_pre_hook(_unpack, with_kwargs=True)
                module.register_forward_hook(_pack, with_kwargs=True)
        elif isinstance(module, nn.TransformerEncoder):
            if any(map(other, module.modules())):
                if module.use_nested_tensor:
                    module.use_nested_tensor = False
                    module.__dict__[_PACKED] = True
            elif module.__dict__.pop(_PACKED, False):
                module.use_nested_tensor = True


def _as_native(norm: nn.Module) -> bool:
    """Whether the kernel computes what ``norm`` does."""
    return isinstance(norm, LayerNorm) and norm.weight is not None and norm.bias is not None


def _unhook(layer: nn.Module) -> None:
    for hooks, with_kwargs, own in (
        (layer._forward_pre_hooks, layer._forward_pre_hooks_with_kwargs, _unpack),
        (layer._forward_hooks, layer._forward_hooks_with_kwargs, _pack),
    ):
        for key in [key for key, hook in hooks.items() if hook is own]:
            del hooks[key]
            del with_kwargs[key]


class _StandIn(Tensor):
    """A value in place of a parameter: the kernel is not used for subclasses of Tensor."""

    def __deepcopy__(self, memo: object) -> "_StandIn":  # Tensor's own refuses subclasses
        return self


class _Unpacked(Tensor):
    """The padding mask of a batch that came packed; it computes as any tensor."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]


def _unpack(
    layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    src = given[0] if given else named["src"]
    if not src.is_nested:
        return None
    padded = src.to_padded_tensor(0.0)
    lengths = torch.tensor([len(sequence) for sequence in src.unbind()], device=src.device)
    mask = torch.arange(padded.shape[1], device=src.device) >= lengths[:, None]
    named = {**named, "src_key_padding_mask": mask.as_subclass(_Unpacked)}
    return ((padded, *given[1:]), named) if given else ((), {**named, "src": padded})


def _pack(
    layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any], result: Tensor
) -> Tensor | None:
    mask = named.get("src_key_padding_mask")
    if not isinstance(mask, _Unpacked):
        return None
    return torch._nested_tensor_from_mask(result, mask.logical_not(), mask_check=False)
