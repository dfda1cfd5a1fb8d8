"""The CPU kernels against the family's formulas in double precision."""

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from tests.dyt.truth import SPREADS, by_definition, everywhere, far_out

from dyt._kernels import compiler
from dyt._kernels.call import Call
from dyt._kernels.cpu import launcher as cpu
from dyt._ops import eager, eager_backward

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(
    cpu.missing() is not None, reason=f"no CPU kernels: {cpu.missing()}"
)
EVERY = pytest.mark.parametrize("function", cpu.FUNCTIONS)


@pytest.fixture(params=cpu.LEVELS)
def level(request):
    """Every set of instructions that this processor has."""
    widest = cpu.level()
    if cpu.limit(request.param) != request.param:
        cpu.limit(widest)
        pytest.skip(f"this processor has no {request.param}")
    yield request.param
    cpu.limit(widest)


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def forward(*call):
    """y of x, the parameters, the function's name and the order."""
    call = Call(*call)
    return cpu.prepare(call).forward(call.tensors())


def backward(dy, *call):
    call = Call(*call)
    return cpu.prepare(call).backward(dy, call.tensors())


def arguments(shape, affine, *, dtype=torch.float32, parameter=torch.float32, shift=True):
    """dy and the tensors of a launcher, on one seed.

    dy leans towards x: dalpha, of a few terms that cancel, has by chance no digits left.
    """
    torch.manual_seed(0)
    x = torch.randn(shape)
    x, dy = x.to(dtype), (x + torch.randn(shape)).to(dtype)
    alpha = torch.tensor([0.7], dtype=parameter)
    moved = torch.tensor([0.1], dtype=parameter) if shift else None
    weight = (1 + 0.5 * torch.randn(affine)).to(parameter) if affine else None
    bias = torch.randn(affine).to(parameter) if affine else None
    return dy, x, alpha, moved, weight, bias


def check(dy, *call, function="tanh", channels_last=True, tolerance=1e-5):
    """Forward and backward of the kernels against the formulas in fp64."""
    wide = Call(*[None if t is None else t.double() for t in call], function, channels_last)
    y = forward(*call, function, channels_last)
    expected = eager(wide)
    made = backward(dy, *call, function, channels_last)
    wanted = eager_backward(dy.double(), wide)
    assert y.dtype == call[0].dtype
    assert y.stride() == torch.empty_like(call[0]).stride()
    assert distance(y, expected) < tolerance
    for ours, truth, like in zip(made, wanted, call, strict=True):
        assert (ours is None) == (like is None)
        if ours is not None:
            assert ours.dtype == like.dtype
            assert ours.shape == like.shape
            assert distance(ours, truth) < tolerance


def distance(ours, truth):
    """The largest error, relative to the largest true value."""
    if truth.numel() == 0:
        return 0
    return ((ours.double() - truth).abs().max() / truth.abs().max().clamp(min=1e-3)).item()


@EVERY
@pytest.mark.parametrize("m", [64, 65, 66, 67])
def test_every_function_at_every_level(function, m, level):
    check(*arguments((m, 192), (192,)), function=function)


@pytest.mark.parametrize("n", [1, 2, 7, 64, 192, 1000, 1001, 4096, 65536])
@pytest.mark.parametrize("m", [1, 5, 46])
def test_widths(n, m, threads):
    check(*arguments((m, n), (n,)))


@pytest.mark.parametrize("hw", [(1, 1), (1, 3), (7, 7), (14, 14), (28, 28), (5, 6), (1, 4099)])
def test_channels_first(hw, threads):
    check(*arguments((3, 40, *hw), (40,)), channels_last=False)


def test_channels_first_in_three_and_two_dimensions():
    check(*arguments((5, 7, 33), (7,)), channels_last=False)
    check(*arguments((5, 7), (7,)), channels_last=False)


def test_many_rows_stay_accurate():
    """Sums of 300,000 rows of one sign, where plain fp32 sums would drift."""
    dy, *call = arguments((300_000, 8), (8,))
    check(dy.abs(), *call)


@pytest.mark.parametrize("shape", [(37, 24), (300, 512)])
def test_without_affine(shape, threads):
    check(*arguments(shape, None, shift=False))


@pytest.mark.parametrize("absent", ["weight", "bias", "shift"])
def test_without_one_parameter(absent):
    call = list(arguments((33, 24), (24,)))
    call[{"shift": 3, "weight": 4, "bias": 5}[absent]] = None
    check(*call)


def test_several_normalized_dimensions():
    check(*arguments((5, 6, 7, 8), (7, 8)))


@pytest.mark.parametrize("shape", [(0, 16), (4, 0, 16)])
def test_empty_batch(shape):
    dy, *call = arguments(shape, (16,))
    dx, *gradients = backward(dy, *call, "tanh", True)
    assert forward(*call, "tanh", True).shape == dx.shape == shape
    assert all((gradient == 0).all() for gradient in gradients)


def test_empty_image():
    dy, *call = arguments((2, 16, 0, 4), (16,))
    assert forward(*call, "tanh", False).shape == (2, 16, 0, 4)
    assert (backward(dy, *call, "tanh", False)[3] == 0).all()


@pytest.mark.parametrize(
    ("shape", "channels_last"), [((3, 0), True), ((0, 0), True), ((3, 0, 4), False)]
)
@pytest.mark.parametrize("absent", [(), ("weight",), ("bias",)])
def test_no_features(shape, channels_last, absent):
    dy, x, alpha, shift, weight, bias = arguments(shape, (0,))
    weight, bias = (None if name in absent else weight for name in ("weight", "bias"))
    check(dy, x, alpha, shift, weight, bias, channels_last=channels_last)


def without_memory(tensor):
    """The same shape and strides, as a sharded model leaves a parameter between two steps."""
    tensor = tensor.clone()
    tensor.untyped_storage().resize_(0)
    assert tensor.data_ptr() == 0
    return tensor


@pytest.mark.parametrize("name", ["dy", *Call._fields[:5]])
def test_a_tensor_without_memory_is_refused(name):
    """Not left out, as if the layer had no such parameter, and not a crash."""
    dy, *call = arguments((6, 24), (24,))
    given = dict(zip(("dy", *Call._fields[:5]), (dy, *call), strict=True))
    given[name] = without_memory(given[name])
    dy, *call = given.values()
    refused = pytest.raises(RuntimeError, match=f"^{name} has no memory: .* data_ptr")
    if name != "dy":
        with refused:
            forward(*call, "tanh", True)
    if name != "bias":  # backward does not read it
        with refused:
            backward(dy, *call, "tanh", True)


def test_no_elements_need_no_memory():
    dy, *call = arguments((0, 24), (24,))
    assert dy.data_ptr() == call[0].data_ptr() == 0
    check(dy, *call)


@pytest.mark.parametrize("name", ["shift", "weight", "bias"])
def test_a_parameter_that_the_prepared_call_lacks_is_refused(name):
    call = Call(*arguments((6, 24), (24,))[1:], "tanh", True)
    prepared = cpu.prepare(call._replace(**{name: None}))
    with pytest.raises(RuntimeError, match=f"^{name} is not of this call"):
        prepared.forward(call.tensors())


LAYOUTS = {
    "rows apart": lambda t: torch.cat([t, t], -1)[..., : t.shape[-1]],
    "every second row": lambda t: t.repeat_interleave(2, 0)[::2],
    "leading dimensions permuted": lambda t: t.transpose(0, 1).contiguous().transpose(0, 1),
    "columns apart": lambda t: t.repeat_interleave(2, -1)[..., ::2],
    "features outermost": lambda t: t.movedim(-1, 0).contiguous().movedim(0, -1),
    "expanded": lambda t: t[:1].expand_as(t),
}


@pytest.mark.parametrize("x_layout", [None, *LAYOUTS])
@pytest.mark.parametrize("dy_layout", [None, *LAYOUTS])
def test_layouts(x_layout, dy_layout):
    dy, x, *rest = arguments((6, 5, 24), (24,))
    dy, x = (LAYOUTS[name](t) if name else t for name, t in ((dy_layout, dy), (x_layout, x)))
    check(dy, x, *rest)


@pytest.mark.parametrize("x_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dy_format", [torch.channels_last, torch.contiguous_format])
def test_memory_formats_of_images(x_format, dy_format):
    dy, x, *rest = arguments((2, 24, 7, 5), (24,))
    dy, x = dy.contiguous(memory_format=dy_format), x.contiguous(memory_format=x_format)
    check(dy, x, *rest, channels_last=False)


def test_images_cut_from_larger_ones():
    dy, x, *rest = arguments((3, 48, 6, 8), (24,))
    check(dy[:, 24:], x[:, :24], *rest, channels_last=False)


def test_tanh_is_within_4_ulp(level):
    everywhere = [torch.linspace(-12, 12, 1_000_001), torch.logspace(-30, 1, 100_001)]
    # All floats where the error is largest.
    first, last = torch.tensor([0.12, 0.14]).view(torch.int32)
    worst = torch.arange(int(first), int(last), dtype=torch.int32).view(torch.float32)
    x = torch.cat([*everywhere, worst])
    y = forward(x, torch.ones(1), None, None, None, "tanh", True)
    truth = torch.tanh(x.double())
    ulp = torch.nextafter(truth.float().abs(), torch.tensor(math.inf)) - truth.float().abs()
    # Without fused multiply-adds, on processors older than 2013, one more.
    assert ((y.double() - truth).abs() / ulp.double()).max() <= (5 if level == "portable" else 4)
    assert y.abs().max() <= 1


@pytest.mark.parametrize("function", ["tanh", "erf"])
@pytest.mark.parametrize("seed", range(4))
def test_sums_are_accurate_where_gradients_are_random(function, seed):
    """At a real size, where three million terms of either sign cancel for the most part."""
    dy, *call = arguments((4096, 768), (768,))
    torch.manual_seed(seed)
    dy = torch.randn_like(dy)
    made = backward(dy, *call, function, True)
    wide = Call(*[t.double() for t in call], function, True)
    truth = eager_backward(dy.double(), wide)
    assert all(distance(ours, exact) < 1e-5 for ours, exact in zip(made, truth, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_results_are_the_small_ones_put_together(dtype, level):
    """They are written past the caches, in other instructions."""
    dy, x, *rest = arguments((7000, 512), (512,), dtype=dtype)
    y = forward(x, *rest, "tanh", True)
    dx = backward(dy, x, *rest, "tanh", True)[0]
    for rows in (slice(0, 300), slice(6700, 7000)):
        assert torch.equal(y[rows], forward(x[rows], *rest, "tanh", True))
        assert torch.equal(dx[rows], backward(dy[rows], x[rows], *rest, "tanh", True)[0])


@EVERY
def test_bf16_is_the_fp32_result_rounded_once(function, level):
    dy, *call = arguments((67, 200), (200,), dtype=torch.bfloat16)
    in_fp32 = [None if t is None else t.float() for t in call]
    y = forward(*call, function, True)
    exact = forward(*in_fp32, function, True)
    assert torch.equal(y, exact.bfloat16())
    dx, *gradients = backward(dy, *call, function, True)
    exact_dx, *exact_gradients = backward(dy.float(), *in_fp32, function, True)
    assert torch.equal(dx, exact_dx.bfloat16())
    for ours, exact in zip(gradients, exact_gradients, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-5, atol=1e-5)


def test_gradients_have_the_parameters_type():
    dy, *call = arguments((64, 96), (96,), dtype=torch.bfloat16, parameter=torch.bfloat16)
    check(dy, *call, tolerance=2**-8)
    dy, *call = arguments((64, 96), (96,), parameter=torch.bfloat16)
    check(dy, *call, tolerance=2**-8)


# Whose slope is 1 less a number close to it, or e to a rounded number: its error is that of 1.
ERROR_OF_ONE = ("tanh", "erf", "satursin")


def slope(function, z):
    """f'(z) as the kernels compute it: dx at alpha = 1."""
    return backward(torch.ones_like(z), z, torch.ones(1), None, None, None, function, True)[0]


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_function_and_slope_are_right_for_every_number(function, dtype, level):
    """From the smallest subnormal to infinity, where f is 1."""
    z, unit = everywhere(dtype), torch.finfo(dtype).eps
    y, dx = forward(z, torch.ones(1), None, None, None, function, True), slope(function, z)
    f, df = by_definition(function, z)
    one = 1 if function in ERROR_OF_ONE else 0
    smallest = torch.finfo(dtype).smallest_normal * unit
    for own, exact, scale in ((y, f, f.abs()), (dx, df, df + one)):
        error = (own.double() - exact).abs() / (3 * unit * scale + smallest)
        assert error.max() <= 1, (error.max().item(), z[error.argmax()].item())
    assert y.abs().max() <= 1
    assert (y[z.isinf()].abs() == 1).all()


@EVERY
def test_no_value_is_above_1(function, level):
    """Where rounding could exceed it: around and beyond the clips."""
    x = torch.linspace(3, 10, 1_000_001)
    assert forward(x, torch.ones(1), None, None, None, function, True).max() <= 1


@pytest.mark.parametrize(
    ("function", "limit"), [("tanh", 8.6), ("erf", 9.4), ("satursin", math.pi / 2), ("hardtanh", 1)]
)
def test_slope_is_exactly_0_where_the_function_is_constant(function, limit, level):
    z = torch.cat([everywhere(torch.float32), torch.linspace(limit, 12, 1000)])
    beyond = z.abs() > limit if function == "hardtanh" else z.abs() >= limit
    assert (slope(function, z[beyond]) == 0).all()


@EVERY
@pytest.mark.parametrize("spread", SPREADS)
def test_gradient_of_alpha_is_right_where_most_inputs_saturate(function, spread, level):
    """There any error of the slope is multiplied by a large x."""
    x, dy = far_out(spread)
    call = x, torch.tensor([0.7]), None, None, None
    exact = eager_backward(
        dy.double(), Call(x.double(), call[1].double(), *call[2:], function, True)
    )
    own = backward(dy, *call, function, True)
    assert own[1].item() == pytest.approx(exact[1].item(), rel=1e-5)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_nan_stays_nan(function, dtype, level):
    """Of either sign, quiet or signalling, with any payload."""
    if dtype == torch.float32:
        payloads = [1 << bit for bit in range(23)] + [(1 << 23) - 1, 0x400001, 0x4001FF]
        positive = torch.tensor([0x7F800000 + payload for payload in payloads], dtype=torch.int32)
        bits = torch.cat([positive, positive - 2**31])
    else:
        positive = torch.arange(0x7F81, 0x8000, dtype=torch.int16)
        bits = torch.cat([positive, positive - 2**15])
    z = bits.view(dtype)
    assert z.isnan().all()
    assert forward(z, torch.ones(1), None, None, None, function, True).isnan().all()
    assert slope(function, z).isnan().all()


def test_nan_reaches_only_its_own_column():
    dy, x, *rest = arguments((64, 40), (40,))
    x[3, 5] = math.nan
    dx, dalpha, _, dweight, dbias = backward(dy, x, *rest, "tanh", True)
    assert dx.isnan().nonzero().tolist() == [[3, 5]]
    assert dweight.isnan().nonzero().tolist() == [[5]]
    assert dalpha.isnan().all()
    assert not dbias.isnan().any()


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_same_bits_every_time(channels_last, threads):
    shape, affine = ((1000, 200), 200) if channels_last else ((10, 50, 20, 20), 50)
    dy, *call = arguments(shape, (affine,))
    first = backward(dy, *call, "tanh", channels_last)
    for _ in range(5):
        again = backward(dy, *call, "tanh", channels_last)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_values_do_not_depend_on_the_number_of_threads():
    dy, *call = arguments((1000, 200), (200,))
    before = torch.get_num_threads()
    found = []
    for count in (1, 2):
        torch.set_num_threads(count)
        y = forward(*call, "erf", True)
        found.append((y, *backward(dy, *call, "erf", True)))
    torch.set_num_threads(before)
    (y1, dx1, *sums1), (y2, dx2, *sums2) = found
    assert torch.equal(y1, y2)
    assert torch.equal(dx1, dx2)
    for one, two in zip(sums1, sums2, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


THREADS = """
import os, torch
from dyt._kernels.call import Call
from dyt._kernels.cpu import launcher as cpu
torch.set_num_threads({threads})
x = torch.randn(2048, 512)
torch.tanh(x)
before = len(os.listdir("/proc/self/task"))
call = Call(x, torch.ones(1), None, torch.ones(512), None, "tanh", True)
for _ in range(3):
    prepared = cpu.prepare(call)
    prepared.forward(call.tensors())
    prepared.backward(x, call.tensors())
print(len(os.listdir("/proc/self/task")) - before)
maps = open("/proc/self/maps").read()
print(len({{line.split()[-1] for line in maps.splitlines() if "gomp" in line or "iomp" in line}}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_pytorchs_own_threads_are_used(threads):
    """No thread of ours beside PyTorch's, and no second OpenMP runtime."""
    code = THREADS.format(threads=threads)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1"]


def test_threads_of_its_own_where_pytorch_has_no_openmp(monkeypatch):
    dy, *call = arguments((1000, 200), (200,))
    monkeypatch.setattr(cpu, "_openmp", lambda: (None, None, None))
    cpu.limit(cpu.level())
    try:
        check(dy, *call)
    finally:
        monkeypatch.undo()
        cpu.limit(cpu.LEVELS[-1])


@pytest.fixture
def hook(monkeypatch):
    """hatch_build.py; hatchling itself is there only while the package is built."""
    name = "hatchling"
    for part in ("", ".builders", ".hooks", ".plugin", ".interface"):
        name += part
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules[name].BuildHookInterface = object
    path = ROOT / "packages/dyt-core/hatch_build.py"
    spec = importlib.util.spec_from_file_location("hatch_build", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_missing_or_failing_compiler_is_a_reason_not_an_error(hook, tmp_path, monkeypatch):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/kernels.cpp").write_text("int main() { return 0 }")
    (tmp_path / "compiler.py").write_text(Path(compiler.__file__).read_text())
    library = tmp_path / "cpu/libdyt_cpu.so"
    library.write_bytes(b"of older sources")
    os.utime(library, (0, 0))
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    assert "no C++ compiler" in hook.build(tmp_path)
    monkeypatch.delenv("CXX")
    assert "failed" in hook.build(tmp_path)
    assert os.listdir(tmp_path / "cpu") == ["kernels.cpp"]


def test_a_library_newer_than_its_sources_is_kept(hook, tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/kernels.cpp").write_text("int main() { return 0 }")
    (tmp_path / "cpu/libdyt_cpu.so").write_bytes(b"compiled")
    assert hook.build(tmp_path) is None
    assert (tmp_path / "cpu/libdyt_cpu.so").read_bytes() == b"compiled"


def test_a_function_that_the_family_does_not_have_is_a_reason(monkeypatch):
    """As where the library was compiled from other sources than the package's."""
    monkeypatch.setattr(cpu, "FAMILY", {"tanh": None})
    reason = cpu._Library(cpu.LIBRARY).missing
    assert "the CPU kernels compute arctan, erf, hardtanh" in reason
    assert "reinstall dyt-core" in reason
