"""The scan against the recurrence it computes, and against transformers' own."""

import pytest
import torch
from torch import Tensor
from transformers.models.mamba.modeling_mamba import mamba_selective_scan

from dyt_dna.models import scan
from dyt_dna.models.scan import selective_scan


def inputs(length: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """x, dt, a, b, c of two directions, two sequences, three channels, four states."""
    generator = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=dtype, generator=generator)

    x, dt, a = normal(length, 2, 2, 3), normal(length, 2, 2, 3).exp() / 10, -normal(2, 3, 4).exp()
    parts = [x, dt, a, normal(length, 2, 2, 4), normal(length, 2, 2, 4)]
    return [part.requires_grad_() for part in parts]


def recurrence(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    state = torch.zeros(*x.shape[1:], a.shape[-1], dtype=x.dtype)
    outputs = []
    for t in range(len(x)):
        decay = (dt[t, ..., None] * a[:, None]).exp()
        state = decay * state + (dt[t] * x[t])[..., None] * b[t, :, :, None]
        outputs.append((state * c[t, :, :, None]).sum(dim=-1))
    return torch.stack(outputs)


@pytest.mark.parametrize("length", [1, scan.SEGMENT, 2 * scan.SEGMENT + 5])
def test_scan_is_the_recurrence_and_so_are_its_gradients(length: int) -> None:
    parts = inputs(length)
    given, expected = selective_scan(*parts), recurrence(*parts)
    torch.testing.assert_close(given, expected)
    weight = torch.randn_like(given)
    torch.testing.assert_close(
        torch.autograd.grad(given, parts, weight), torch.autograd.grad(expected, parts, weight)
    )


def test_scan_is_transformers() -> None:
    x, dt, a, b, c = (part.detach() for part in inputs(40, torch.float32))
    given = selective_scan(x, dt, a, b, c)
    for direction in range(2):
        batch_first = (part[:, direction].permute(1, 2, 0) for part in (x, dt))
        states_first = (part[:, direction].permute(1, 2, 0) for part in (b, c))
        expected = mamba_selective_scan(*batch_first, a[direction], *states_first)
        torch.testing.assert_close(given[:, direction].permute(1, 2, 0), expected)


def test_strong_decay_forgets_without_overflow() -> None:
    x, dt, a, b, c = (part.detach() for part in inputs(100, torch.float32))
    assert selective_scan(x, dt * 1e4, a, b, c).isfinite().all()


def test_half_precision_is_computed_in_float32() -> None:
    parts = [part.detach().bfloat16() for part in inputs(50, torch.float32)]
    expected = recurrence(*(part.float() for part in parts))
    given = selective_scan(*parts)
    assert given.dtype == torch.bfloat16
    torch.testing.assert_close(given.float(), expected, rtol=1e-2, atol=1e-2)
