"""The functions against the formula written with the standard library, and their checks."""

import math

import pytest
import torch

import dyt


def test_dynamic_tanh_is_the_formula():
    torch.manual_seed(0)
    x, weight, bias = torch.randn(5, 3), torch.randn(3), torch.randn(3)
    y = dyt.dynamic_tanh(x, torch.tensor([0.7]), weight, bias)
    for i in range(5):
        for j in range(3):
            z = math.tanh(0.7 * x[i, j].item())
            expected = weight[j].item() * z + bias[j].item()
            assert y[i, j].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_dynamic_erf_is_the_formula():
    torch.manual_seed(0)
    x, weight = torch.randn(4, 2), torch.randn(2)
    y = dyt.dynamic_erf(x, torch.tensor([0.7]), torch.tensor([0.1]), weight)
    for i in range(4):
        for j in range(2):
            expected = weight[j].item() * math.erf(0.7 * x[i, j].item() + 0.1)
            assert y[i, j].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_channels_first_is_channels_last_with_the_axes_moved():
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 3, 4, 5), torch.randn(3), torch.randn(3)
    alpha = torch.tensor([0.5])
    first = dyt.dynamic_tanh(x, alpha, weight, bias, channels_last=False)
    last = dyt.dynamic_tanh(x.movedim(1, -1), alpha, weight, bias)
    torch.testing.assert_close(first, last.movedim(-1, 1), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_output_has_the_dtype_of_the_input(dtype):
    x = torch.randn(2, 4, dtype=dtype)
    y = dyt.dynamic_tanh(x, torch.full([1], 0.5), torch.ones(4), torch.zeros(4))
    assert y.dtype == dtype


def test_empty_batch():
    x = torch.empty(0, 4, requires_grad=True)
    y = dyt.dynamic_tanh(x, torch.full([1], 0.5), torch.ones(4))
    y.sum().backward()
    assert y.shape == x.grad.shape == (0, 4)


@pytest.mark.parametrize("function", [n for n in dyt.FAMILY if n not in ("hardtanh", "exproot")])
def test_gradients_of_all_arguments(function):
    """Against finite differences; hardtanh and exproot are not smooth everywhere."""
    torch.manual_seed(0)
    arguments = [torch.randn(3, 4), torch.rand(1) + 0.3, torch.rand(1), torch.randn(4)]
    x, alpha, shift, weight = (a.double().requires_grad_() for a in arguments)
    torch.autograd.gradcheck(
        lambda *a: dyt.pointwise_norm(*a, function=function), (x, alpha, shift, weight)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.ones(2, 4, dtype=torch.int64)}, "x must be floating point, got torch.int64"),
        ({"alpha": torch.ones(2)}, r"alpha must have one element, got shape \(2,\)"),
        ({"weight": torch.ones(3)}, r"weight must have shape \(4,\).*got \(3,\)"),
        ({"bias": torch.ones(2, 4, 4)}, r"bias must have shape .*got \(2, 4, 4\)"),
        ({"function": "sinh"}, "function must be one of"),
        ({"x": torch.ones(4), "channels_last": False}, r"x must be \(N, C, ...\)"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {"x": torch.ones(2, 4), "alpha": torch.ones(1), "weight": torch.ones(4)} | change
    with pytest.raises(ValueError, match=message):
        dyt.pointwise_norm(**arguments)
