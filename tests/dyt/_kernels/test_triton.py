"""The Triton kernels against double precision, in the interpreter.

Triton reads TRITON_INTERPRET as kernels are defined, so these tests run in a process of their
own: without the variable this file holds one test, which runs the file again with it.
"""

import math
import os
import subprocess
import sys
from contextlib import contextmanager
from itertools import product

import numpy
import pytest
import torch
from tests.dyt.truth import SPREADS, by_definition, everywhere, far_out

from dyt._kernels.call import Call
from dyt._kernels.triton import launcher as backend
from dyt.functions import FAMILY

pytest.importorskip("triton", reason="Triton comes with torch on Linux alone")

# The interpreter computes with NumPy, which warns of infinities where a GPU is silent.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::RuntimeWarning")]

INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETING, reason="runs in the interpreter's process")
EVERY = pytest.mark.parametrize("function", list(backend.functions()))
AFFINE = ("none", "weight", "bias", "both")


def forward(*call):
    return backend.forward(Call(*call))


def backward(dy, *call):
    return backend.backward(dy, Call(*call))


@contextmanager
def filling(wanted):
    """Whether torch.empty fills what it makes with NaN."""
    torch.use_deterministic_algorithms(wanted)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def poisoned():
    """An element that no kernel writes is NaN."""
    with filling(True):
        yield


@pytest.mark.skipif(INTERPRETING, reason="this is the interpreter's process")
def test_in_the_interpreter():
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", __file__]
    command += ["-m", "slow or not slow"]  # which here are all
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
    """y and the gradients by the table's formulas, in double precision.

    Of each gradient that is a sum, with it the root of the sum of its terms' squares.
    """
    entry = FAMILY[function]
    dim = x.dim() - 1 if channels_last else 1
    others = [d for d in range(x.dim()) if d != dim]
    view = [-1 if d == dim else 1 for d in range(x.dim())]

    def summed(terms, dims):
        if not dims:
            return terms, terms.abs()
        return terms.sum(dims), terms.square().sum(dims).sqrt()

    def all_summed(terms):
        return tuple(part.view(1) for part in summed(terms, list(range(x.dim()))))

    z = alpha.double() * x.double() + (0 if shift is None else shift.double())
    y, dy = entry.f(z), dy.double()
    dz = dy * entry.df(z)
    dweight = dbias = dshift = None
    if weight is not None:
        dweight = summed(dy * y, others)
        y, dz = y * weight.double().view(view), dz * weight.double().view(view)
    if bias is not None:
        dbias = summed(dy, others)
        y = y + bias.double().view(view)
    if shift is not None:
        dshift = all_summed(dz)
    return y, dz * alpha.double(), (all_summed(dz * x.double()), dshift, dweight, dbias)


def half_unit(dtype):
    """The largest relative error of one rounding; for bf16 the interpreter cuts bits off."""
    eps = torch.finfo(dtype).eps
    return eps if dtype == torch.bfloat16 else eps / 2


def check(given, function="tanh", channels_last=True, dy=None):
    """Forward and all gradients against the formula in double precision.

    y and dx: one rounding, and 8 units of 2^-24 of what is added up or multiplied on the way.

    Sums: 1e-5 of the root of the sum of their terms' squares. Random signs may make a sum
    come out near zero, and then its last bits are those of single terms, however it is added
    up; errors of independent roundings grow as that root does.
    """
    x, alpha, _, weight, bias = given
    assert backend.unsupported(Call(*given, function, channels_last)) is None
    dy = torch.randn(x.shape).to(x.dtype) if dy is None else dy
    y = forward(*given, function, channels_last)
    dx, *gradients = backward(dy, *given, function, channels_last)
    expected_y, expected_dx, expected = reference(dy, *given, function, channels_last)

    view = [-1] + [1] * (0 if channels_last else x.dim() - 2)
    gain = torch.ones(1) if weight is None else weight.double().abs().view(view)
    base = torch.zeros(1) if bias is None else bias.double().abs().view(view)
    rounding = half_unit(x.dtype)
    smallest = torch.finfo(x.dtype).smallest_normal * torch.finfo(x.dtype).eps
    for own, exact, scale in (
        (y, expected_y, gain + base),
        (dx, expected_dx, gain * alpha.double().abs() * dy.double().abs()),
    ):
        assert own.shape == x.shape
        assert own.dtype == x.dtype
        assert own.stride() == torch.empty_like(x).stride()  # what the operator's fake promises
        error = (own.double() - exact).abs()
        assert (error <= rounding * exact.abs() + 2**-21 * scale + smallest).all()
    for own, exact, parameter in zip(gradients, expected, given[1:], strict=True):
        assert (own is None) == (exact is None)
        if own is not None:
            assert own.dtype == parameter.dtype
            assert own.shape == parameter.shape
            value, scale = exact
            assert ((own.double() - value).abs() <= 1e-5 * scale).all()
    return dx, gradients, expected


@interpreted
@pytest.mark.parametrize("remainder", range(4))
@pytest.mark.parametrize("features", [1, 7, 64, 192, 1000, 1001, 4096])
def test_every_width_and_remainder_of_rows(features, remainder):
    """A whole unmasked step, a whole masked tile, and a part of one."""
    tile = backend.choose_tile(100, features, 4, backend.FORWARD, lanes=512)
    rows = tile.rows + tile.block_m + remainder
    assert rows % 4 == remainder
    check(arguments((rows, features)))


@interpreted
def test_the_widest_rows():
    check(arguments((3, 65_536), torch.bfloat16))


@interpreted
@pytest.mark.parametrize("function", ["tanh", "erf"])
def test_sums_that_do_not_cancel_are_accurate_to_five_digits(function):
    """Relative to the sums themselves: dy that goes along with x leaves none near zero."""
    given = arguments((301, 192), shift=True)
    dy = given[0] + 1 + torch.randn(given[0].shape)
    _, gradients, expected = check(given, function, dy=dy)
    for own, (exact, _) in zip(gradients, expected, strict=True):
        assert (own.double() - exact).abs().max() <= 1e-5 * exact.abs().max()


@interpreted
@pytest.mark.parametrize("side", [7, 14, 28])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_first(side, dtype):
    given = arguments((19, 5, side, side), dtype, channels_last=False)
    assert not copies(given[0], range(1, 2))
    check(given, channels_last=False)


def copies(x, covered):
    return backend.find_layout(covered, x.shape, (x.stride(), torch.empty_like(x).stride())) is None


@interpreted
@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_function(function, dtype):
    check(arguments((37, 264), dtype, shift=True), function)


@interpreted
@pytest.mark.parametrize(("dtype", "same"), [(torch.bfloat16, False), (torch.float16, True)])
def test_only_bf16_may_be_approximate(dtype, same, monkeypatch):
    """Off NVIDIA's GPUs what replaces the instruction is the accurate tanh, not the sigmoid."""
    given = arguments((37, 264), dtype)
    usual = forward(*given, "tanh", True)
    monkeypatch.setattr(backend, "ROUGH", True)
    check(given)
    assert torch.equal(forward(*given, "tanh", True), usual) is same


def test_an_approximate_tanh_stays_within_the_unit_of_bf16():
    """As NVIDIA documents the instruction: off by 2^-10.98 of the value, either way."""
    exact = torch.linspace(-6, 6, 100_001, dtype=torch.float64).tanh()
    unit = torch.exp2(exact.abs().clamp(min=1e-30).log2().floor() - 7)
    for off in (1 - 2**-10.98, 1 + 2**-10.98):
        rounded = (exact * off).to(torch.bfloat16).double()
        assert ((rounded - exact).abs() <= 0.76 * unit).all()


@interpreted
@pytest.mark.parametrize(("affine", "shift"), list(product(AFFINE, (False, True))))
@pytest.mark.parametrize("channels_last", [True, False])
def test_every_combination_of_parameters(affine, shift, channels_last):
    shape = (6, 24) if channels_last else (6, 24, 3)
    given = arguments(shape, torch.bfloat16, affine, shift, channels_last)
    check(given, "erf", channels_last)


@pytest.fixture
def narrow(monkeypatch):
    """Blocks as narrow as on a GPU, so that there are several of them."""
    device = backend.Machine(multiprocessors=2, lanes=32, ptx=False, backward_options={})
    monkeypatch.setattr(backend, "machine", lambda _: device)
    yield monkeypatch
    backend.plan_launch.cache_clear()


@interpreted
@pytest.mark.parametrize("programs", [1, 3, 40])
def test_programs_share_a_column_block(narrow, programs):
    """Each takes several steps, one step, or none; the tail is spread over them too."""
    for name in ("forward_programs", "backward_programs"):
        narrow.setattr(backend, name, lambda *_: programs)
    backend.plan_launch.cache_clear()
    given = arguments((237, 136), torch.bfloat16)  # 3 blocks; 7 steps of 2 tiles, and 13 rows
    assert backend.choose_tile(237, 136, 2, backend.FORWARD, 32) == backend.Tile(16, 64, 2)
    check(given)


@interpreted
@pytest.mark.parametrize("shape", [(45, 5, 7, 7), (2, 3, 20, 20), (1, 2, 2, 521), (9, 40, 1, 2)])
def test_parameters_and_column_blocks_overlap(narrow, shape):
    """A block with parts of many parameters, a parameter in many blocks, rows too few to tile."""
    check(arguments(shape, torch.bfloat16, channels_last=False), channels_last=False)


@interpreted
@pytest.mark.parametrize("affine", AFFINE)
def test_empty_batch(affine):
    given = arguments((0, 24), affine=affine, shift=True)
    y = forward(*given, "tanh", True)
    dx, *gradients = backward(y, *given, "tanh", True)
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
        lambda x: x.transpose(1, 2),
    ],
)
def test_strided_inputs(view):
    torch.manual_seed(0)
    x = view(torch.randn(5, 6, 24))
    given = (x, *arguments((1, x.shape[-1]))[1:])
    check(given)
    check((*given[:3], None, None))
    check(given, dy=torch.ones(()).expand(x.shape))


@interpreted
@pytest.mark.parametrize("channels_last", [True, False])
def test_memory_order_and_meaning_may_differ(channels_last):
    """Channels-last memory seen channels-first, and the reverse, without a copy."""
    given = list(arguments((3, 4, 5, 6), channels_last=channels_last))
    order = (0, 2, 3, 1) if not channels_last else (0, 3, 1, 2)
    back = (0, 3, 1, 2) if not channels_last else (0, 2, 3, 1)
    given[0] = given[0].permute(order).contiguous().permute(back)
    assert not copies(given[0], range(3, 4) if channels_last else range(1, 2))
    check(given, channels_last=channels_last)
    check((*given[:3], None, None), channels_last=channels_last)


@interpreted
@pytest.mark.parametrize(
    ("shape", "strides"),
    [
        ((150, 64), (2**24 + 8, 1)),  # every 128th row is 2^31 elements further
        ((3, 64), (2**30, 1)),  # within a tile
        ((3, 5, 64), (2**30, 64, 1)),  # blocks of rows
    ],
)
def test_elements_beyond_32_bits_are_addressed(narrow, shape, strides):
    """In 4 GB or more of address space, of which only the pages with rows exist."""
    reach = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) + 1
    assert reach > 2**31
    with filling(False):
        x = torch.empty(reach, dtype=torch.bfloat16).as_strided(shape, strides)
    x.copy_(torch.randn(shape))
    assert not copies(x, range(len(shape) - 1, len(shape)))
    check((x, *arguments((1, 64))[1:]))


@interpreted
def test_parameters_may_be_strided():
    x, alpha, _, weight, bias = arguments((9, 24))
    apart = torch.stack([weight, bias], dim=1)
    check((x, alpha, None, apart[:, 0], apart[:, 1]))


@interpreted
def test_parameters_of_several_dimensions():
    x, alpha = torch.randn(7, 3, 8), torch.tensor([0.7])
    weight, bias = torch.randn(3, 8), torch.randn(3, 8)
    y = forward(x, alpha, None, weight, bias, "tanh", True)
    torch.testing.assert_close(y, weight * torch.tanh(alpha * x) + bias, rtol=1e-5, atol=1e-6)
    gradients = backward(y, x, alpha, None, weight, bias, "tanh", True)
    assert gradients[3].shape == (3, 8)
    torch.testing.assert_close(gradients[4], y.sum(0), rtol=1e-5, atol=1e-5)


def approximate(monkeypatch, operation, exact, factor):
    """An operation of the interpreter off by a factor, rounded once."""
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    def off(self, *operands):
        result = exact(*(operand.data.astype("float64") for operand in operands)) * factor
        return TensorHandle(result.astype(operands[0].data.dtype), operands[0].dtype)

    monkeypatch.setattr(InterpreterBuilder, operation, off)


# Whose slope is 1 less a number close to it, or e to a rounded number: its error is that of 1.
ERROR_OF_ONE = ("tanh", "erf", "satursin")


def value_and_slope(function, z):
    """f(z) and f'(z) as the kernels compute them: y and dx at alpha = 1."""
    given = (z, torch.ones(1), None, None, None, function, True)
    return forward(*given), backward(torch.ones_like(z), *given)[0]


@interpreted
@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_function_and_slope_are_right_for_every_number(function, dtype, monkeypatch):
    """From the smallest subnormal to infinity, with rcp.approx.ftz, which returns no subnormals."""

    def quotient(a, b):
        return numpy.where(numpy.abs(a / b) < 2.0**-126, 0, a / b)

    approximate(monkeypatch, "create_fdiv", quotient, 1)
    z, limits = everywhere(dtype).view(1, -1), torch.finfo(dtype)
    y, dx = value_and_slope(function, z)
    f, df = by_definition(function, z)
    smallest = 2**-126 + limits.smallest_normal * limits.eps
    # For results of 16 bits tanh is 1 less a number close to it, in fp32.
    one, rest = int(function in ERROR_OF_ONE), 2**-22 if limits.bits == 16 else 0
    for own, exact, scale in ((y, f, f.abs()), (dx, df, df + one)):
        allowed = 3 * limits.eps * scale + smallest + rest
        error = (own.double() - exact).abs() / allowed
        assert error.max() <= 1, (error.max().item(), z.flatten()[error.argmax()].item())


@interpreted
@pytest.mark.parametrize(
    ("function", "limit"),
    [("tanh", 9.2), ("erf", 10.2), ("satursin", math.pi / 2), ("hardtanh", 1)],
)
def test_slope_is_exactly_0_where_the_function_is_constant(function, limit):
    z = torch.cat([everywhere(torch.float32), torch.linspace(limit, 12, 1000)])
    beyond = z.abs() > limit if function == "hardtanh" else z.abs() >= limit
    assert (value_and_slope(function, z[beyond])[1] == 0).all()


@interpreted
@EVERY
@pytest.mark.parametrize("spread", SPREADS)
def test_gradient_of_alpha_is_right_where_most_inputs_saturate(function, spread):
    """There any error of the slope is multiplied by a large x."""
    x, dy = far_out(spread)
    given = (x, torch.tensor([0.7]), None, None, None, function, True)
    (exact, _), *_ = reference(dy, *given)[2]
    assert backward(dy, *given)[1].item() == pytest.approx(exact.item(), rel=1e-5)


@interpreted
@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nan_stays_nan(function, dtype):
    z = torch.full([8], math.nan, dtype=dtype)
    assert all(own.isnan().all() for own in value_and_slope(function, z))


@interpreted
@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_infinite_alpha_saturates(function, dtype):
    """Also where masks leave columns and rows out: they must not add NaN to the sums."""
    x = torch.tensor([[2.0, -1.0, 4.0]], dtype=dtype)
    given = (x, torch.tensor([math.inf]), None, torch.ones(3), torch.zeros(3))
    y = forward(*given, function, True)
    gradients = backward(torch.ones_like(x), *given, function, True)
    entry, z = FAMILY[function], math.inf * x.float()
    torch.testing.assert_close(y.float(), entry.f(z), equal_nan=True)
    dalpha = (x.float() * entry.df(z)).sum().view(1)
    torch.testing.assert_close(gradients[1], dalpha, equal_nan=True)
    torch.testing.assert_close(gradients[4], torch.ones(3))


@interpreted
@pytest.mark.parametrize("direction", [-1, 0, 1])
@pytest.mark.parametrize("function", ["tanh", "erf"])
def test_single_precision_is_accurate_everywhere(function, direction, monkeypatch):
    """At most four units in the last place, from the subnormal to the saturated.

    Also with the errors that a GPU's approximations may have, which the interpreter has not:
    ex2.approx 2^-22, rcp.approx 2^-23 (PTX ISA), all to one side.
    """
    approximate(monkeypatch, "create_exp2", numpy.exp2, 1 + direction * 2**-22)
    approximate(monkeypatch, "create_fdiv", numpy.divide, 1 - direction * 2**-23)
    magnitudes = torch.cat([torch.logspace(-38, 1.2, 50_000), torch.linspace(0.4, 1.2, 200_000)])
    x = torch.cat([magnitudes, -magnitudes]).view(-1, 1000)
    y = forward(x, torch.ones(1), None, None, None, function, True)
    exact = FAMILY[function].f(x.double())
    ulp = torch.nextafter(exact.float().abs(), torch.tensor(math.inf)) - exact.float().abs()
    assert ((y.double() - exact).abs() / ulp.double()).max() <= 4


@interpreted
def test_gradients_keep_the_dtype_of_their_parameter():
    given = arguments((9, 24), torch.bfloat16, shift=True)
    dx, *gradients = backward(given[0], *given, "tanh", True)
    assert dx.dtype == torch.bfloat16
    assert {own.dtype for own in gradients} == {torch.float32}
    halves = (given[0].float(), *(p.half() for p in given[1:]))
    gradients = backward(halves[0], *halves, "tanh", True)[1:]
    assert {own.dtype for own in gradients} == {torch.float16}


@interpreted
def test_the_same_bits_every_time():
    given = arguments((45, 192), shift=True)
    once, again = (backward(given[0], *given, "tanh", True) for _ in range(2))
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
    assert reason in backend.unsupported(Call(**given | change))


@pytest.mark.skipif(INTERPRETING, reason="the interpreter takes CPU tensors")
def test_a_cpu_tensor_is_refused():
    call = Call(torch.ones(2, 4), torch.ones(1), None, None, None, "tanh", True)
    reason = backend.unsupported(call)
    assert reason == "triton needs a CUDA or ROCm device, got cpu"


@pytest.mark.parametrize("columns", [1, 7, 64, 192, 768, 1000, 1032, 4096, 65_536])
@pytest.mark.parametrize("rows", [1, 7, 8192])
def test_tiles_cover_every_column_and_waste_few(rows, columns):
    tile = backend.choose_tile(rows, columns, 2, backend.BACKWARD, lanes=32)
    assert tile.block_m * tile.block_n == 1024
    assert rows == 8192 or tile.block_m == 1 or columns < 1024
    blocks = -(-columns // tile.block_n)
    assert blocks * tile.block_n < columns + (64 if tile.block_m > 1 else 1024)


@pytest.mark.parametrize(("rows", "blocks"), [(1, 1), (1024, 16), (8192, 16), (2**20, 3)])
def test_partial_sums_stay_below_two_percent(rows, blocks):
    tile = backend.choose_tile(rows, 256 * blocks, 2, backend.BACKWARD, lanes=32)
    programs = backend.backward_programs(rows, blocks, tile, 2, resident=6 * 132)
    assert 1 <= programs * blocks <= max(blocks, 6 * 132)
    if rows >= 8192:
        assert 16 * programs <= 0.02 * 3 * 2 * rows


H100 = backend.Machine(multiprocessors=132, lanes=32, ptx=True, backward_options={})


@pytest.mark.parametrize(
    ("shape", "covered"),
    [((2**31, 1), range(1, 2)), ((2**28, 8), range(1, 2)), ((2**20, 3, 224, 224), range(1, 2))],
)
def test_grids_stay_within_what_a_device_takes(shape, covered):
    strides = torch.empty(shape, device="meta").stride()
    for launch in (backend.FORWARD, backend.BACKWARD):
        plan = backend.plan_launch(launch, "tanh", covered, shape, (strides,) * 3, 2, H100)
        assert plan.grid[0] < 2**31
        assert 1 <= plan.grid[1] <= 65_535


def test_more_columns_than_32_bits_count_have_a_reason(monkeypatch):
    monkeypatch.setattr(backend, "interpreting", lambda: True)
    x, weight = torch.ones(1).expand(2, 2**16, 2**15), torch.ones(1).expand(2**16)
    given = (x, torch.ones(1), None, weight, None, "tanh")
    call = Call(*given, False)
    assert backend.unsupported(call).startswith("triton takes samples of at most")
    narrow = call._replace(weight=torch.ones(2**15), channels_last=True)
    assert backend.unsupported(narrow) is None


def test_kernels_are_not_compiled_anew_for_every_length():
    """What changes with the number of rows is an argument; constants depend on widths alone."""
    constants = set()
    for length in range(50, 60):
        x = torch.empty(16, length, 3, 64, device="meta")[:, 1:, 0]
        strides = (x.stride(), torch.empty_like(x).stride())
        plan = backend.plan_launch(backend.FORWARD, "tanh", range(2, 3), x.shape, strides, 2, H100)
        constants.add((plan.tile, *plan.layout[4:]))
    unused = (0, 0, 0, 0)  # the arguments in the place of constants
    assert constants == {(backend.Tile(16, 64, 2), *unused, 64, 1, False, 16, 192, 64)}


def test_in_channels_first_order_the_length_is_an_argument():
    """A batch of recordings has a length of its own: no constant depends on it."""
    constants = set()
    for length in range(1000, 1064):
        width, shape = 512 * length, (8, 512, length)
        for launch, tensors in ((backend.FORWARD, 2), (backend.BACKWARD, 3)):
            strides = ((width, length, 1),) * tensors
            plan = backend.plan_launch(launch, "tanh", range(1, 2), shape, strides, 2, H100)
            first, last = 2 + tensors, 4 + 2 * tensors
            assert plan.layout[first:last] == (width, length, *[width] * tensors)
            constants.add((launch, plan.tile, plan.slots, plan.layout[last:]))
    assert len(constants) == 2
