"""One walk over the tensors of a batch, whatever holds them."""

from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass

import pytest
import torch

from dyt_bench.plugin.batches import as_bytes, tensors

A, B = torch.arange(3), torch.ones(2, 2)
Pair = namedtuple("Pair", "first second")


@dataclass
class Example:
    inputs: torch.Tensor
    targets: torch.Tensor


@pytest.mark.parametrize(
    "batch",
    [
        (A, B),
        [A, [B]],
        {"a": A, "b": (B, 3, "text", None)},
        OrderedDict(a=A, b=B),
        UserDict(a=A, b=B),  # as transformers' BatchEncoding is
        Pair(A, B),
        Example(A, B),
    ],
    ids=lambda batch: type(batch).__name__,
)
def test_every_tensor_is_found_in_order(batch):
    first, second = tensors(batch)
    assert first is A
    assert second is B


def test_bytes_are_those_of_the_values_in_order_whatever_the_strides():
    x = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    assert as_bytes(x.t()).tobytes() == x.t().contiguous().numpy().tobytes()
    assert as_bytes(x.to(torch.bfloat16)).nbytes == 12
