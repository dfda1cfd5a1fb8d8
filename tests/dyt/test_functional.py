"""The functions against the formula written with the standard library, and their checks."""

import math

import pytest
import torch

import dyt
from dyt import _ops, functional
from dyt._kernels.call import Call
from dyt._kernels.cpu import launcher as cpu

CPU = pytest.mark.skipif(cpu.missing() is not None, reason="no CPU kernels")


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


@pytest.mark.parametrize("backend", ["auto", "eager"])
@pytest.mark.parametrize(("shape", "scalar"), [((), (1,)), ((), ()), ((3,), (1, 1))])
def test_output_has_the_shape_of_the_input(backend, shape, scalar):
    x, alpha = torch.randn(shape, requires_grad=True), torch.full(scalar, 0.5, requires_grad=True)
    y = dyt.dynamic_tanh(x, alpha, backend=backend)
    assert y.shape == x.shape
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert alpha.grad.shape == alpha.shape
    dx, dalpha, *_ = _ops.eager_backward(
        torch.ones_like(x), Call(x, alpha, None, None, None, "tanh", True)
    )
    torch.testing.assert_close(dx, x.grad)
    torch.testing.assert_close(dalpha, alpha.grad)


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


def fused(monkeypatch):
    """The names of the backends that computed, in order, from now on."""
    used = []
    original = _ops.fused

    def spy(tensors, route):
        used.append(type(route.prepared).__module__.split(".")[2])
        return original(tensors, route)

    monkeypatch.setattr(_ops, "fused", spy)
    return used


@CPU
def test_backend_by_argument_context_and_default(monkeypatch):
    used = fused(monkeypatch)
    x, alpha = torch.randn(2, 4), torch.ones(1)
    dyt.dynamic_tanh(x, alpha)
    dyt.dynamic_tanh(x, alpha, backend="eager")
    with dyt.use_backend("eager"):
        dyt.dynamic_erf(x, alpha, alpha)
        dyt.dynamic_erf(x, alpha, alpha, backend="cpu")
    dyt.pointwise_norm(x, alpha)
    assert used == ["cpu"] * 3


@CPU
def test_context_ends_with_an_error(monkeypatch):
    used = fused(monkeypatch)
    with pytest.raises(RuntimeError), dyt.use_backend("eager"):
        raise RuntimeError
    dyt.dynamic_tanh(torch.randn(2, 4), torch.ones(1))
    assert used == ["cpu"]


def test_backend_by_environment():
    assert functional._from_environment({}) == "auto"
    assert functional._from_environment({"DYT_BACKEND": "eager"}) == "eager"
    with pytest.raises(ValueError, match=r"DYT_BACKEND must be one of auto, .*; got 'fast'"):
        functional._from_environment({"DYT_BACKEND": "fast"})


@CPU
@pytest.mark.parametrize(
    ("x", "options", "reason"),
    [
        (torch.ones(2, 4).double(), {}, "float32 and bfloat16, got torch.float64"),
        (torch.ones(2, 4), {"function": "relsign"}, "not relsign"),
        (torch.ones(2, 4, device="meta"), {}, "cannot compute on meta, where x is"),
    ],
)
def test_cpu_by_name_works_or_says_why_not(x, options, reason):
    alpha = torch.ones(1, device=x.device)
    assert dyt.pointwise_norm(x, alpha, **options).shape == (2, 4)  # auto computes it
    with pytest.raises(ValueError, match=f"backend 'cpu' cannot compute this: .*{reason}"):
        dyt.pointwise_norm(x, alpha, **options, backend="cpu")


def test_missing_library_is_said_once_and_only_by_auto(monkeypatch):
    monkeypatch.setattr(cpu._library, "missing", "the CPU kernels are not compiled")
    monkeypatch.setattr(functional, "_warned", set())
    monkeypatch.setattr(functional, "_routes", {})
    x, alpha = torch.randn(2, 4), torch.ones(1)
    dyt.dynamic_tanh(x, alpha, backend="eager")
    with pytest.warns(UserWarning, match="eager formula, which is slow: the CPU kernels are not"):
        dyt.dynamic_tanh(x, alpha)
    dyt.dynamic_tanh(x, alpha)
    with pytest.raises(ValueError, match=r"backend 'cpu' cannot .* not compiled"):
        dyt.dynamic_tanh(x, alpha, backend="cpu")


def test_unknown_backend_is_named():
    with pytest.raises(ValueError, match=r"backend must be one of auto, eager.*; got 'cuda'"):
        dyt.dynamic_tanh(torch.ones(2), torch.ones(1), backend="cuda")
    with pytest.raises(ValueError, match="backend must be one of"), dyt.use_backend("cuda"):
        pass


def test_parameters_on_another_device_are_named():
    x, elsewhere = torch.ones(2, 4), torch.ones(4, device="meta")
    with pytest.raises(ValueError, match="weight must be on cpu as x is, got meta"):
        dyt.dynamic_tanh(x, torch.ones(1), elsewhere)
    with pytest.raises(ValueError, match="alpha must be on cpu as x is, got meta"):
        dyt.dynamic_tanh(x, elsewhere[:1])


@CPU
def test_calls_that_differ_in_one_fact_do_not_share_a_route():
    """The same shapes in another order in memory, with other parameters, in another type."""
    torch.manual_seed(0)
    dense, moved, padded = torch.randn(4, 6, 8), torch.randn(6, 4, 8), torch.randn(4, 6, 12)
    weight, bias = torch.randn(8), torch.randn(8)
    inputs = (dense, moved.transpose(0, 1), padded[..., :8], dense.bfloat16(), dense)
    affines = ((weight, bias), (weight[::1], None), (torch.randn(16)[::2], bias), (None, None))
    for affine in affines:
        for x in inputs:
            grads = []
            for backend in ("auto", "eager"):
                parameters = (torch.tensor([0.7]), *affine)
                leaves = [x.float(), *parameters]
                leaves = [None if t is None else t.detach().requires_grad_() for t in leaves]
                y = dyt.dynamic_tanh(leaves[0].to(x.dtype), *leaves[1:], backend=backend)
                y.float().square().sum().backward()
                grads.append([y.float(), *(t.grad for t in leaves if t is not None)])
            close = {"rtol": 2e-2, "atol": 2e-1} if x.dtype is torch.bfloat16 else {}
            torch.testing.assert_close(*grads, **close)


@CPU
def test_a_saved_input_may_come_back_in_another_order():
    """As hooks that offload or compress what is saved give it back: equal, with other strides."""
    torch.manual_seed(0)
    wide = torch.randn(6, 12)
    grads = []
    for unpack in (
        lambda kept: kept,
        lambda kept: kept.clone(memory_format=torch.contiguous_format),
    ):
        x = wide[:, :8].detach().requires_grad_()
        weight, alpha = torch.ones(8, requires_grad=True), torch.ones(1, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t, unpack):
            dyt.dynamic_tanh(x, alpha, weight).square().sum().backward()
        grads.append((x.grad, weight.grad, alpha.grad))
    torch.testing.assert_close(*grads, rtol=1e-6, atol=1e-6)


def test_backends_say_what_is_unavailable_and_why(monkeypatch):
    assert list(dyt.backends()) == ["eager", "cpu", "triton"] == list(functional.BACKENDS[1:])
    assert dyt.backends()["eager"] is None
    if not torch.cuda.is_available():
        reason = dyt.backends()["triton"]
        assert reason == "triton is not installed" or "needs a CUDA or ROCm device" in reason
    monkeypatch.setattr(cpu._library, "missing", "the CPU kernels are not compiled")
    assert dyt.backends()["cpu"] == "the CPU kernels are not compiled"


@CPU
def test_the_instruction_set_is_one_that_the_library_has():
    assert functional.instruction_set() in cpu.LEVELS
