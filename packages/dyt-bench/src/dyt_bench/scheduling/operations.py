"""What one of PyTorch's operations computes and moves, by its arguments' shapes. Needs torch."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True)
class Operation:
    """What one operation computes and moves."""

    flops: float  # of matrix products, convolutions, attention and Fourier transforms
    moved: float  # bytes read and written
    half: bool = False  # whether in half precision
    special: float = 0.0  # exponentials and the like
    drawn: float = 0.0  # random numbers
    tensors: int = 1  # that it goes through one after another, as optimisers do


def nbytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def is_free(func: Any) -> bool:
    """Whether an operation moves nothing: views, and memory that is only reserved."""
    if func.namespace == "prim" or func.__name__.startswith(("empty", "new_empty", "sym_")):
        return True  # questions about a tensor, and memory without content
    returns = func._schema.returns
    return bool(returns) and all(
        each.alias_info is not None and not each.alias_info.is_write for each in returns
    )


# Operations that evaluate an exponential, an error function or the like for each element, and those
# that draw a random number for each.
SPECIAL = re.compile(
    r"_?(log_|safe_)?softmax|(elu|gelu|mish|silu|softplus|log_sigmoid)(_forward|_backward)?"
    r"|erf|exp|expm1|log|log1p|logsumexp|pow|sigmoid|sin|cos|tanh"
)
DRAWN = re.compile(r"bernoulli|exponential|native_dropout|normal|rand(n|int)?(_like|perm)?|uniform")


def operation(
    func: Any, args: Any, kwargs: Any, out: Any, read: Sequence[Tensor], made: Sequence[Tensor]
) -> Operation:
    """Count one call: ``read`` and ``made`` are the tensors that it takes and returns."""
    name = func.__name__.partition(".")[0]
    plain = name.rstrip("_")  # in place or not
    numbers = float(sum(tensor.numel() for tensor in made))
    special = func.namespace == "dyt" or SPECIAL.fullmatch(plain)
    loops = name.startswith(("_foreach", "_fused")) and isinstance(args[0], (list, tuple))
    return Operation(
        flops=_flops(func, args, kwargs, out),
        moved=float(sum(map(nbytes, read)) + sum(map(nbytes, made))),
        half=any(tensor.dtype in (torch.bfloat16, torch.float16) for tensor in read),
        special=_scores(name, args) if name.startswith(_SDPA) else numbers * bool(special),
        drawn=numbers * bool(DRAWN.fullmatch(plain)),
        tensors=len(args[0]) if loops else 1,
    )


def _scores(name: str, args: Any) -> float:
    """How many scores attention exponentiates."""
    query, key = args[1:3] if name.endswith("backward") else args[:2]
    return float(math.prod(query.shape[:-1]) * key.shape[-2])


_SDPA = ("_scaled_dot_product_flash_attention_for_cpu",)


def _flops(func: Any, args: Any, kwargs: Any, out: Any) -> float:
    """FLOP of a matrix product, a convolution, attention or a Fourier transform; else 0."""
    packet = func._overloadpacket
    if packet in flop_registry:
        return float(flop_registry[packet](*args, **kwargs, out_val=out))
    name = func.__name__.partition(".")[0]
    if name.startswith(_SDPA):
        backward = name.endswith("backward")
        query = args[1] if backward else args[0]
        products = 4.0 * _scores(name, args) * query.shape[-1]
        return float(2.5 * products if backward else products)
    if name.startswith("_fft"):
        size = max(args[0].shape[-1], tree_leaves(out)[0].shape[-1])
        count = max(args[0].numel(), tree_leaves(out)[0].numel())
        return float(5.0 * count * math.log2(max(2, size)))
    return 0.0
