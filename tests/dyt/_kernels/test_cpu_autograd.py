"""The compiled binding: the same bits as through Python, and Python where it does not go."""

import subprocess
import sys
import threading

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import dyt
from dyt import _ops as ops
from dyt._kernels.cpu import launcher as cpu
from dyt._kernels.cpu_autograd import binding

pytestmark = pytest.mark.skipif(
    cpu.missing() is not None, reason=f"no CPU kernels: {cpu.missing()}"
)
TYPES = [torch.float32, torch.bfloat16]
LAYOUTS = {
    "rows": ((6, 5, 24), (24,), True, lambda x: x),
    "two dimensions": ((6, 5, 24), (5, 24), True, lambda x: x),
    "channels first": ((3, 24, 4, 5), (24,), False, lambda x: x),
    "channels last": (
        (3, 24, 4, 5),
        (24,),
        False,
        lambda x: x.contiguous(memory_format=torch.channels_last),
    ),
    "one channel": ((3, 1, 4, 5), (1,), False, lambda x: x),
    "empty": ((0, 24), (24,), True, lambda x: x),
    "no features": ((3, 0), (0,), True, lambda x: x),
    "no channels": ((3, 0, 4), (0,), False, lambda x: x),
    "large": ((300, 700), (700,), True, lambda x: x),
}


def tensors(shape, affine, x_type=torch.float32, type_=torch.float32, parts=(1, 1, 1)):
    """x, alpha, shift, weight, bias; those that ``parts`` leaves out are None."""
    torch.manual_seed(0)
    made = [torch.randn(1), torch.randn(affine), torch.randn(affine)]
    kept = [t.to(type_) if part else None for t, part in zip(made, parts, strict=True)]
    return torch.randn(shape).to(x_type), torch.tensor([0.7], dtype=type_), *kept


def results(arguments, dy=None, **options):
    """y and the gradients, for dy or one that is dense as y is."""
    leaves = [None if t is None else t.detach().requires_grad_() for t in arguments]
    y = dyt.pointwise_norm(*leaves, **options)
    torch.manual_seed(1)
    y.backward(torch.randn_like(y) if dy is None else dy)
    return [y.detach(), *(t.grad for t in leaves if t is not None)]


def assert_same_bits(first, second):
    for a, b in zip(first, second, strict=True):
        assert a.dtype is b.dtype
        assert a.stride() == b.stride()
        assert torch.equal(a, b)


def both_ways(monkeypatch, arguments, dy=None, **options):
    """The results through the binding, which must not decline, and through Python."""
    taken = []
    call = ops.bound
    monkeypatch.setattr(ops, "bound", lambda *a: taken.append(call(*a)) or taken[-1])
    through_binding = results(arguments, dy, **options)
    assert taken[-1] is not None
    monkeypatch.setattr(ops, "bound", None)
    return through_binding, results(arguments, dy, **options)


@pytest.mark.parametrize("function", cpu.FUNCTIONS)
@pytest.mark.parametrize("parts", [(1, 1, 1), (0, 1, 1), (0, 1, 0), (0, 0, 1), (0, 0, 0)])
def test_every_function_with_every_parameter(bound, monkeypatch, function, parts):
    arguments = tensors((6, 5, 24), (24,), parts=parts)
    assert_same_bits(*both_ways(monkeypatch, arguments, function=function))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("x_type", TYPES)
@pytest.mark.parametrize("type_", TYPES)
def test_every_layout_and_type(bound, monkeypatch, layout, x_type, type_):
    shape, affine, channels_last, lay = LAYOUTS[layout]
    x, *parameters = tensors(shape, affine, x_type, type_)
    options = {"channels_last": channels_last}
    assert_same_bits(*both_ways(monkeypatch, (lay(x), *parameters), **options))


@pytest.mark.parametrize(
    "dy",
    [
        torch.ones(()).expand(6, 5, 24),
        torch.randn(24, 5, 6).permute(2, 1, 0),
        torch.randn(6, 5, 30)[..., :24],
    ],
    ids=["expanded", "transposed", "in wider rows"],
)
def test_gradients_that_lie_otherwise(bound, monkeypatch, dy):
    assert_same_bits(*both_ways(monkeypatch, tensors((6, 5, 24), (24,)), dy))


@pytest.mark.parametrize(
    "change",
    [
        {"x": torch.ones(4, 6).T},
        {"x": torch.ones(6, 4).double()},
        {"alpha": torch.ones(1).double()},
        {"weight": torch.ones(8)[::2]},
        {"weight": torch.ones(4).bfloat16()},
        {"function": "relsign"},
    ],
    ids=str,
)
def test_what_it_does_not_know_python_computes(bound, change):
    arguments = {"x": torch.ones(6, 4), "alpha": torch.ones(1), "weight": torch.ones(4)} | change
    code = cpu.CODES.get(arguments.pop("function", "tanh"), -1)
    assert ops.bound(*arguments.values(), None, None, code, True) is None
    options = {"function": change["function"]} if "function" in change else {}
    y = dyt.pointwise_norm(**arguments, **options)
    with_eager = dyt.pointwise_norm(**arguments, **options, backend="eager")
    torch.testing.assert_close(y, with_eager)


def test_wrong_arguments_are_named_as_ever(bound):
    x = torch.ones(2, 4)
    with pytest.raises(ValueError, match=r"weight must have shape \(4,\).*got \(3,\)"):
        dyt.dynamic_tanh(x, torch.ones(1), torch.ones(3))
    with pytest.raises(ValueError, match="alpha must have one element"):
        dyt.dynamic_tanh(x, torch.ones(2))
    with pytest.raises(ValueError, match=r"x must be \(N, C, ...\)"):
        dyt.dynamic_tanh(torch.ones(4), torch.ones(1), channels_last=False)
    with pytest.raises(ValueError, match="weight must be on cpu as x is, got meta"):
        dyt.dynamic_tanh(x, torch.ones(1), torch.ones(4, device="meta"))


@pytest.mark.parametrize("name", ["x", "alpha", "shift", "weight", "bias"])
def test_a_tensor_without_memory_is_refused(bound, name):
    names = ("x", "alpha", "shift", "weight", "bias")
    given = dict(zip(names, tensors((6, 24), (24,)), strict=True))
    given[name].untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match=f"^{name} has no memory: .* data_ptr"):
        ops.bound(*given.values(), cpu.CODES["tanh"], True)


def test_a_gradient_without_memory_is_refused(bound):
    x = torch.ones(6, 24, requires_grad=True)
    dy = torch.ones(6, 24)
    dy.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match=r"^dy has no memory: .* data_ptr"):
        dyt.dynamic_tanh(x, torch.ones(1)).backward(dy)


def test_eager_by_name_is_eager(bound, monkeypatch):
    monkeypatch.setattr(ops, "bound", lambda *_: pytest.fail("the binding was called"))
    with dyt.use_backend("eager"):
        dyt.dynamic_tanh(torch.ones(2, 4), torch.ones(1))


@pytest.mark.parametrize("layout", ["rows", "channels first"])
def test_a_saved_input_may_come_back_in_another_order(bound, layout):
    """As hooks that offload or compress what is saved give it back: equal, with other strides."""
    shape, affine, channels_last, _ = LAYOUTS[layout]
    found = []
    for give_back in (lambda t: t, lambda t: t.mT.contiguous().mT if t.dim() > 1 else t):
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t, give_back):
            found.append(results(tensors(shape, affine), channels_last=channels_last))
    for dense, back in zip(*found, strict=True):
        torch.testing.assert_close(dense, back, rtol=0, atol=0)


def test_what_is_saved_is_guarded_and_let_go(bound):
    x, alpha, *_ = tensors((6, 24), (24,))
    weight = torch.ones(24, requires_grad=True)
    y = dyt.dynamic_tanh(x, alpha, weight)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()
    y = dyt.dynamic_tanh(x, alpha, weight)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_an_error_in_python_ends_backward(bound, monkeypatch):
    def fail(*_):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(ops, "eager_backward", fail)
    x = torch.ones(2, 4, requires_grad=True)
    y = dyt.dynamic_tanh(x, torch.ones(1))
    with pytest.raises(RuntimeError, match="out of luck"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


def test_what_looks_on_in_backward_sees_operators(bound):
    x = torch.ones(2, 4, requires_grad=True)
    y = dyt.dynamic_tanh(x, torch.ones(1))
    with FlopCounterMode(display=False):
        y.sum().backward()
    torch.testing.assert_close(x.grad, 1 - torch.tanh(torch.ones(2, 4)) ** 2)


def test_the_profiler_names_it(bound):
    x = torch.ones(2, 4, requires_grad=True)
    cpu_only = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu_only, acc_events=True) as profile:
        dyt.dynamic_tanh(x, torch.ones(1)).sum().backward()
    names = {event.key for event in profile.key_averages()}
    assert {"dyt::pointwise_norm", "PointwiseNormBackward"} <= names


def test_from_many_threads_at_once(bound):
    arguments = tensors((64, 700), (700,))
    dy = torch.randn(64, 700)
    expected = results(arguments, dy)
    found = []

    def work():
        found.extend(results(arguments, dy) for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    for one in found:
        assert_same_bits(one, expected)


def test_a_process_without_it_says_why(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(ops, "bound", None)
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    assert "no C++ compiler, looked for" in dyt.bind()
    monkeypatch.delenv("CXX")
    with monkeypatch.context() as patch:
        patch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
        assert "install Python's headers" in dyt.bind()
    wrong = tmp_path / "binding.cpp"
    wrong.write_text("int main() { return 0 }")
    monkeypatch.setattr(binding, "_SOURCES", (wrong,))
    assert "failed: " in dyt.bind()
    assert not list(tmp_path.glob("dyt/*.so"))
    monkeypatch.setattr(cpu._library, "missing", "the CPU kernels are not compiled")
    assert dyt.bind() == "the CPU kernels are not compiled"
    assert ops.bound is None


@pytest.mark.parametrize("found", ["2.8.0+cu128", "2.15.0a0+git1", "3.0.0"])
def test_a_pytorch_that_it_was_not_tried_with_is_named(tmp_path, monkeypatch, found):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(ops, "bound", None)
    monkeypatch.setattr(torch, "__version__", found)
    release = ".".join(found.split(".")[:2])
    assert dyt.bind() == (
        f"the binding is written for PyTorch 2.9 to 2.14; found {release}: layers go through Python"
    )
    assert not list(tmp_path.glob("dyt/*.so"))


def test_a_library_that_cannot_be_loaded_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(ops, "bound", None)
    (tmp_path / "dyt").mkdir()
    (tmp_path / "dyt" / binding._name()).write_bytes(b"half of a library")
    assert "delete it" in dyt.bind()
    monkeypatch.setattr(ops, "sought", False)
    dyt.dynamic_tanh(torch.ones(3, 41), torch.ones(1))  # works without it
    assert ops.sought
    assert ops.bound is None


FIRST_CALL = """
import torch, dyt
from dyt import _ops
layer = dyt.DynamicTanh(8)
first, second = layer(torch.ones(2, 8)), layer(torch.ones(2, 8))  # whose nodes live as they do
print(_ops.bound is not None, second.grad_fn.name())
"""


def after_the_first_call(**environment):
    command = [sys.executable, "-c", FIRST_CALL]
    done = subprocess.run(
        command, env={"PATH": "", **environment}, check=True, capture_output=True, text=True
    )
    return done.stdout.split()


def test_nothing_is_compiled_that_nobody_asked_for(tmp_path):
    found = after_the_first_call(XDG_CACHE_HOME=str(tmp_path))
    assert found == ["False", "_FusedBackward"]
    assert not list(tmp_path.iterdir())


def test_what_is_compiled_is_taken_at_the_first_call(bound, tmp_path):
    """By every process from then on, without a call of `bind`."""
    (tmp_path / "dyt").symlink_to(binding._found().parent)
    found = after_the_first_call(XDG_CACHE_HOME=str(tmp_path))
    assert found == ["True", "PointwiseNormBackward"]


def test_a_package_built_beside_pytorch_has_it(bound, monkeypatch, tmp_path):
    here = tmp_path / "cpu_autograd"
    here.mkdir()
    name, compiled = binding._name(), binding._found()
    (here / "_dyt_binding-0123.so").touch()  # for another PyTorch
    (here / name).symlink_to(compiled)
    monkeypatch.setattr(binding, "_HERE", here)
    assert binding.build() is None
    assert [path.name for path in here.iterdir()] == [name]
    assert binding._found() == here / name
