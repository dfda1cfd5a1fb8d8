"""The Triton kernels against double precision, in the interpreter.

Triton reads TRITON_INTERPRET as kernels are defined, so these tests run in a process of their
own: without the variable this file holds one test, which runs the file again with it.
"""

import math
import os
import subprocess
import sys
from itertools import product

import pytest
import torch

from dyt.family import FAMILY
from dyt.kernels import triton as backend

pytest.importorskip("triton", reason="Triton comes with torch on Linux alone")

# The interpreter computes with NumPy, which warns of infinities where a GPU is silent.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETING, reason="runs in the interpreter's process")
EVERY = pytest.mark.parametrize("function", backend.FUNCTIONS)
AFFINE = ("none", "weight", "bias", "both")


@pytest.mark.skipif(INTERPRETING, reason="this is the interpreter's process")
def test_in_the_interpreter():
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def arguments(shape, dtype=torch.float32, affine="both", shift=False, channels_last=True):
    """x, alpha, shift, weight, bias; None for those left out."""
    torch.manual_seed(0)
    parameters = shape[-1] if channels_last else shape[1]
    return (
        2 * torch.randn(shape).to(dtype),
        torch.tensor([0.7]),
        torch.tensor([0.2]) if shift else None,
        1 + 0.3 * torch.randn(parameters) if affine in ("weight", "both") else None,
        torch.randn(parameters) if affine in ("bias", "both") else None,
    )


def reference(dy, x, alpha, shift, weight, bias, function, channels_last):
    """y and the gradients by the table's formulas, in double precision."""
    entry = FAMILY[function]
    dim = x.dim() - 1 if channels_last else 1
    others = [d for d in range(x.dim()) if d != dim]
    view = [-1 if d == dim else 1 for d in range(x.dim())]
    z = alpha.double() * x.double() + (0 if shift is None else shift.double())
    f, dz = entry.f(z), dy.double() * entry.df(z)
    y, dweight, dbias = f, None, None
    if weight is not None:
        dweight = (dy.double() * f).sum(others) if others else dy.double() * f
        y, dz = y * weight.double().view(view), dz * weight.double().view(view)
    if bias is not None:
        dbias = dy.double().sum(others) if others else dy.double()
        y = y + bias.double().view(view)
    dshift = None if shift is None else dz.sum().view(1)
    return y, (dz * alpha.double(), (dz * x.double()).sum().view(1), dshift, dweight, dbias)


def check(given, function="tanh", channels_last=True, dy=None):
    """Forward and all gradients within rounding of the double-precision formula."""
    x = given[0]
    assert backend.unsupported(*given, function, channels_last) is None
    # Correlated with x and off zero: the sum of random signs may come out near zero by chance,
    # and then no accuracy of the terms makes it accurate.
    dy = (x + 1 + torch.randn(x.shape)).to(x.dtype) if dy is None else dy
    y = backend.forward(*given, function, channels_last)
    gradients = backend.backward(dy, *given, function, channels_last)
    expected_y, expected = reference(dy, *given, function, channels_last)
    # One rounding of the fp32 result: to nearest, but for bf16 the interpreter cuts bits off.
    cut = 1.01 if x.dtype == torch.bfloat16 else 0.51
    rounding = 2e-6 if x.dtype == torch.float32 else cut * torch.finfo(x.dtype).eps
    for own, exact in ((y, expected_y), (gradients[0], expected[0])):
        assert own.shape == x.shape
        assert own.dtype == x.dtype
        torch.testing.assert_close(own.double(), exact, rtol=rounding, atol=4e-6)
    for own, exact, parameter in zip(gradients[1:], expected[1:], given[1:], strict=True):
        assert (own is None) == (exact is None)
        if own is not None:
            assert own.dtype == parameter.dtype
            assert own.shape == parameter.shape
            assert (own.double() - exact).abs().max() <= 1e-5 * exact.abs().max()


@interpreted
@pytest.mark.parametrize("remainder", range(4))
@pytest.mark.parametrize("features", [1, 7, 64, 192, 1000, 1001, 4096])
def test_every_width_and_remainder_of_rows(features, remainder):
    """A whole unmasked step, a whole masked tile, and a part of one."""
    tile = backend.choose_tile(features, 4, backend.FORWARD)
    rows = tile.rows + tile.block_m + remainder
    check(arguments((rows, features)))


@interpreted
@pytest.mark.parametrize("side", [7, 14, 28])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_first(side, dtype):
    check(arguments((19, 5, side, side), dtype, channels_last=False), channels_last=False)


@interpreted
@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_function(function, dtype):
    check(arguments((37, 264), dtype, shift=True), function)


@interpreted
@pytest.mark.parametrize(("affine", "shift"), list(product(AFFINE, (False, True))))
@pytest.mark.parametrize("channels_last", [True, False])
def test_every_combination_of_parameters(affine, shift, channels_last):
    shape = (6, 24) if channels_last else (6, 24, 3)
    given = arguments(shape, torch.bfloat16, affine, shift, channels_last)
    check(given, "erf", channels_last)


@interpreted
def test_tiles_of_a_real_device(monkeypatch):
    """With blocks as narrow as on a GPU: several of them, and several programs in each."""
    monkeypatch.setattr(backend, "_lanes", lambda: 32)
    check(arguments((45, 320), torch.bfloat16))
    check(arguments((5, 3, 7, 7), torch.bfloat16, channels_last=False), channels_last=False)


@interpreted
@pytest.mark.parametrize("affine", AFFINE)
def test_empty_batch(affine):
    given = arguments((0, 24), affine=affine, shift=True)
    y = backend.forward(*given, "tanh", True)
    dx, *gradients = backend.backward(y, *given, "tanh", True)
    assert y.shape == dx.shape == (0, 24)
    for own, parameter in zip(gradients, given[1:], strict=True):
        assert (own is None) == (parameter is None)
        assert own is None or (own == 0).all()


@interpreted
@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[:, ::2],
        lambda x: x[:, :4],
        lambda x: x.transpose(0, 1),
        lambda x: x[:, :, 8:],
        lambda x: x[..., ::2],
        lambda x: x[:, ::2, None].transpose(0, 2),
        lambda x: x[:1, :1],
        lambda x: x[0, 0],
        lambda x: x[:1].expand(5, 6, 24),
    ],
)
def test_strided_inputs(view):
    torch.manual_seed(0)
    x = view(torch.randn(5, 6, 24))
    given = (x, *arguments((1, x.shape[-1]))[1:])
    check(given)
    check(given, dy=torch.ones(()).expand(x.shape))


@interpreted
@pytest.mark.parametrize("channels_last", [True, False])
def test_memory_order_and_meaning_may_differ(channels_last):
    """Channels-last memory seen channels-first, and the reverse, without a copy."""
    given = list(arguments((3, 4, 5, 6), channels_last=channels_last))
    order = (0, 2, 3, 1) if not channels_last else (0, 3, 1, 2)
    back = (0, 3, 1, 2) if not channels_last else (0, 2, 3, 1)
    given[0] = given[0].permute(order).contiguous().permute(back)
    covered = range(3, 4) if channels_last else range(1, 2)
    assert backend.find_layout(covered, given[0]) is not None
    check(given, channels_last=channels_last)
    assert backend.forward(*given, "tanh", channels_last).stride() == given[0].stride()


@interpreted
def test_parameters_of_several_dimensions():
    x, alpha = torch.randn(7, 3, 8), torch.tensor([0.7])
    weight, bias = torch.randn(3, 8), torch.randn(3, 8)
    y = backend.forward(x, alpha, None, weight, bias, "tanh", True)
    torch.testing.assert_close(y, weight * torch.tanh(alpha * x) + bias, rtol=1e-5, atol=1e-6)
    gradients = backend.backward(y, x, alpha, None, weight, bias, "tanh", True)
    assert gradients[3].shape == (3, 8)
    torch.testing.assert_close(gradients[4], y.sum(0), rtol=1e-5, atol=1e-5)


@interpreted
@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nan_and_infinity_pass_as_in_the_formula(function, dtype):
    points = [math.nan, math.inf, -math.inf, 0.0, 3.0, -3.0, 1e30, -1e30]
    x = torch.tensor(points, dtype=dtype).view(1, 8)
    given = (x, torch.tensor([0.5]), None, torch.full([8], 2.0), torch.ones(8))
    dy = torch.ones_like(x)
    y = backend.forward(*given, function, True)
    dx = backend.backward(dy, *given, function, True)[0]
    entry, z = FAMILY[function], 0.5 * x.float()
    torch.testing.assert_close(y.float(), 2 * entry.f(z) + 1, rtol=8e-3, atol=1e-5, equal_nan=True)
    torch.testing.assert_close(dx.float(), entry.df(z), rtol=8e-3, atol=1e-5, equal_nan=True)


@interpreted
@pytest.mark.parametrize("function", ["tanh", "erf"])
def test_single_precision_is_accurate_everywhere(function):
    """At most four units in the last place, from the subnormal to the saturated."""
    magnitudes = torch.cat([torch.logspace(-38, 1.2, 30_000), torch.linspace(0.4, 1.2, 20_000)])
    x = torch.cat([magnitudes, -magnitudes]).view(-1, 1000)
    y = backend.forward(x, torch.ones(1), None, None, None, function, True)
    exact = FAMILY[function].f(x.double())
    ulp = torch.nextafter(exact.float().abs(), torch.tensor(math.inf)) - exact.float().abs()
    assert ((y.double() - exact).abs() / ulp.double()).max() <= 4


@interpreted
def test_gradients_keep_the_dtype_of_their_parameter():
    given = arguments((9, 24), torch.bfloat16, shift=True)
    dx, *gradients = backend.backward(given[0], *given, "tanh", True)
    assert dx.dtype == torch.bfloat16
    assert {own.dtype for own in gradients} == {torch.float32}
    halves = (given[0].float(), *(p.half() for p in given[1:]))
    gradients = backend.backward(halves[0], *halves, "tanh", True)[1:]
    assert {own.dtype for own in gradients} == {torch.float16}


@interpreted
def test_the_same_bits_every_time():
    given = arguments((45, 192), shift=True)
    once, again = (backend.backward(given[0], *given, "tanh", True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"function": "relsign"}, "no kernel for function 'relsign'"),
        ({"x": torch.ones(2, 4, dtype=torch.float64)}, "got x of torch.float64"),
        ({"weight": torch.ones(4, dtype=torch.float64)}, "got weight of torch.float64"),
        ({"bias": torch.ones(4, device="meta")}, "bias is on meta, x on cpu"),
    ],
)
def test_what_it_cannot_do_has_a_reason(change, reason, monkeypatch):
    monkeypatch.setattr(backend, "interpreting", lambda: True)
    given = {"x": torch.ones(2, 4), "alpha": torch.ones(1), "shift": None, "weight": None}
    given |= {"bias": None, "function": "tanh", "channels_last": True}
    assert reason in backend.unsupported(**given | change)


@pytest.mark.skipif(INTERPRETING, reason="the interpreter takes CPU tensors")
def test_a_cpu_tensor_is_refused():
    reason = backend.unsupported(torch.ones(2, 4), torch.ones(1), None, None, None, "tanh", True)
    assert reason == "triton needs a CUDA or ROCm device, got cpu"


@pytest.mark.parametrize("columns", [1, 7, 64, 192, 768, 1000, 1032, 4096, 65_536])
def test_tiles_cover_every_column_and_waste_few(columns):
    tile = backend.choose_tile(columns, 2, backend.BACKWARD, lanes=32)
    assert tile.block_m * tile.block_n == 1024
    blocks = -(-columns // tile.block_n)
    assert blocks * tile.block_n < columns + 64


@pytest.mark.parametrize(("rows", "blocks"), [(1, 1), (1024, 16), (8192, 16), (2**20, 3)])
def test_partial_sums_stay_below_two_percent(rows, blocks):
    tile = backend.choose_tile(256 * blocks, 2, backend.BACKWARD, lanes=32)
    programs = backend.backward_programs(rows, blocks, tile, 2, 132)
    assert 1 <= programs * blocks <= max(blocks, 132 * backend.BACKWARD.resident)
    if rows >= 8192:
        assert 16 * programs <= 0.02 * 3 * 2 * rows
