"""The operator under everything that looks at operators, and the choice of backend."""

import copy
import pickle
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

import dyt
from dyt import _ops as ops
from dyt._kernels.call import Call
from dyt._kernels.cpu import launcher as cpu

pytestmark = [
    pytest.mark.skipif(cpu.missing() is not None, reason=f"no CPU kernels: {cpu.missing()}"),
    pytest.mark.usefixtures("way"),
]

FULL = (True, True, True)  # shift, weight, bias


def layer(function="tanh", shift=True, weight=True, bias=True, **options):
    torch.manual_seed(0)
    made = dyt.PointwiseNorm(
        24,
        function=function,
        shift_init_value=0.1 if shift else None,
        elementwise_affine=weight,
        bias=bias,
        **options,
    )
    for parameter in made.parameters():
        nn.init.normal_(parameter, mean=0.5, std=0.2)
    return made


def arguments(requires_grad=True):
    torch.manual_seed(0)
    x = torch.randn(6, 5, 24, requires_grad=requires_grad)
    return x, *(p.detach().requires_grad_(requires_grad) for p in layer().parameters())


def gradients_of(run, x, module):
    x = x.detach().requires_grad_()
    y = run(x)
    (y * torch.linspace(-1, 2, y.numel()).view_as(y)).sum().backward()
    found = [y.detach(), x.grad, *(p.grad for p in module.parameters())]
    module.zero_grad(set_to_none=True)
    return found


def assert_same(first, second, **tolerance):
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize("function", cpu.FUNCTIONS)
@pytest.mark.parametrize("parts", [FULL, (False, True, False), (False, False, False)])
def test_gradients_are_those_of_the_formula(function, parts):
    module, x = layer(function, *parts), torch.randn(6, 5, 24)
    fused = gradients_of(module, x, module)
    with dyt.use_backend("eager"):
        assert_same(fused, gradients_of(module, x, module), rtol=1e-4, atol=1e-5)


# opcheck itself looks at the gradient of a tensor that is not a leaf (torch 2.14).
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("parts", [FULL, (False, True, False), (False, False, False)])
def test_opcheck(parts, channels_last):
    x, alpha, *rest = arguments()
    rest = [t if wanted else None for t, wanted in zip(rest, parts, strict=True)]
    x = x if channels_last else x.detach().movedim(-1, 1).contiguous().requires_grad_()
    call = x, alpha, *rest, "tanh", channels_last, "cpu"
    torch.library.opcheck(torch.ops.dyt.pointwise_norm.default, call)
    call = [t.detach() if isinstance(t, torch.Tensor) else t for t in (torch.randn_like(x), *call)]
    torch.library.opcheck(torch.ops.dyt.pointwise_norm_backward.default, tuple(call))


def test_opcheck_of_a_transposed_input():
    x, *rest = arguments(requires_grad=False)
    x = x.movedim(-1, 0).contiguous().movedim(0, -1)
    call = x, *rest, "tanh", True, "cpu"
    torch.library.opcheck(torch.ops.dyt.pointwise_norm.default, call)


def test_double_backward_is_the_formulas():
    x, *parameters = (t.detach().double().requires_grad_() for t in arguments())
    x = x[:2, :1].detach().requires_grad_()
    torch.autograd.gradgradcheck(lambda *a: dyt.pointwise_norm(*a), (x, *parameters))

    def second_order(backend):
        inputs = [t.detach().float().requires_grad_() for t in (x, *parameters)]
        y = dyt.pointwise_norm(*inputs, backend=backend)
        first = torch.autograd.grad(y.square().sum(), inputs, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), inputs)

    assert_same(second_order("cpu"), second_order("eager"), rtol=1e-4, atol=1e-4)


def test_double_backward_of_the_operator():
    inputs = arguments()

    def second_order(run):
        y = run(*inputs)
        first = torch.autograd.grad(y.square().sum(), inputs, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), inputs)

    by_operator = second_order(lambda *a: torch.ops.dyt.pointwise_norm(*a, "tanh", True, "cpu"))
    by_formula = second_order(lambda *a: dyt.pointwise_norm(*a, backend="eager"))
    assert_same(by_operator, by_formula, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("wanted", ["x", "weight", "alpha"])
def test_gradients_of_some_inputs_only(wanted):
    module, x = layer(), torch.randn(6, 24)
    module.requires_grad_(False)
    target = (x if wanted == "x" else getattr(module, wanted)).requires_grad_()
    (ours,) = torch.autograd.grad(module(x).sum(), target)
    with dyt.use_backend("eager"):
        (truth,) = torch.autograd.grad(module(x).sum(), target)
    torch.testing.assert_close(ours, truth)


def test_only_x_and_parameters_are_kept_for_backward():
    module, x = layer(), torch.randn(6, 24, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        module(x)
    known = {t.data_ptr() for t in (x, *module.parameters())}
    assert {t.data_ptr() for t in kept} <= known


@pytest.mark.parametrize("backend", ["cpu", "eager"])
@pytest.mark.parametrize("mode", ["eager", "aot_eager"])
def test_compile_without_a_graph_break(mode, backend):
    module, x = layer(), torch.randn(6, 24)
    compiled = torch.compile(module, backend=mode, fullgraph=True)
    with dyt.use_backend(backend):
        assert_same(gradients_of(compiled, x, module), gradients_of(module, x, module))


@pytest.mark.slow
def test_compile_with_inductor_and_dynamic_shapes():
    module = nn.Sequential(nn.Linear(24, 24), layer(), nn.GELU())
    compiled = torch.compile(module, fullgraph=True, dynamic=True)
    for rows in (6, 9):
        x = torch.randn(rows, 24)
        ours, truth = gradients_of(compiled, x, module), gradients_of(module, x, module)
        assert_same(ours, truth, rtol=1e-4, atol=1e-5)


def test_compile_honours_the_backend_in_use():
    seen = []

    def spy(graph, inputs):
        seen.append([str(node.target) for node in graph.graph.nodes])
        return graph.forward

    module, x = layer(), torch.randn(6, 24)
    compiled = torch.compile(module, backend=spy, fullgraph=True)
    compiled(x)
    with dyt.use_backend("cpu"):
        compiled(x)
    formula, fused = seen
    assert any("pointwise_norm" in target for target in fused)
    assert not any("pointwise_norm" in target for target in formula)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_compiled_layer_keeps_x_and_its_parameters_alone(dtype):
    """As the kernels do: what the formula has between them is computed again."""
    module, x = layer().to(dtype), torch.randn(6, 24, dtype=dtype, requires_grad=True)
    compiled = torch.compile(module, fullgraph=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        compiled(x)
    known = {t.data_ptr() for t in (x, *module.parameters())}
    assert {t.data_ptr() for t in kept} <= known


@pytest.mark.slow
@pytest.mark.parametrize("strict", [True, False])
def test_an_exported_program_runs_without_dyt(strict, tmp_path):
    module, x = layer(), torch.randn(6, 24)
    rows = torch.export.Dim("rows", min=2)
    program = torch.export.export(module, (x,), dynamic_shapes=({0: rows},), strict=strict)
    operators = {str(n.target) for n in program.graph.nodes if n.op == "call_function"}
    assert operators
    assert all(name.startswith("aten.") for name in operators)
    torch.testing.assert_close(program.module()(x[:4]), module(x[:4]))
    torch.export.save(program, tmp_path / "layer.pt2")
    torch.save((x[:4], module(x[:4]).detach()), tmp_path / "case.pt")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ELSEWHERE],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


ELSEWHERE = """
import sys, torch
x, y = torch.load("case.pt", weights_only=True)
torch.testing.assert_close(torch.export.load("layer.pt2").module()(x), y)
assert "dyt" not in sys.modules
"""


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("grad", [True, False])
def test_a_traced_layer_computes_the_same(grad):
    module, x = layer(), torch.randn(6, 5, 24)
    with torch.set_grad_enabled(grad):
        traced = torch.jit.trace(module, x)
        torch.testing.assert_close(traced(2 * x), module(2 * x))


# PyTorch's forward mode scripts functions of its own.
of_scripting = pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated")


@of_scripting
@pytest.mark.parametrize("function", ["erf", "cubsign"])  # by a kernel, and by the formula
def test_a_scripted_layer_trains_and_is_saved(function, tmp_path):
    module, x = layer(function), torch.randn(6, 5, 24)
    scripted = torch.jit.script(module)
    assert_same(gradients_of(scripted, x, module), gradients_of(module, x, module))
    torch.jit.save(scripted, tmp_path / "layer.pt")
    torch.testing.assert_close(torch.jit.load(tmp_path / "layer.pt")(x), module(x))


def test_compiled_autograd():
    module, x = layer(), torch.randn(6, 24)
    truth = gradients_of(module, x, module)
    compiler = torch.compile(backend="aot_eager", fullgraph=True)
    with torch._dynamo.compiled_autograd._enable(compiler):
        found = gradients_of(module, x, module)
    assert_same(found, truth, rtol=1e-4, atol=1e-5)


@of_scripting
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("argument", range(5))
def test_forward_mode(argument, grad):
    inputs = [t.detach() for t in arguments()]
    tangent = torch.randn_like(inputs[argument])
    _, truth = torch.func.jvp(
        lambda t: ops.eager(Call(*inputs[:argument], t, *inputs[argument + 1 :], "tanh", True)),
        (inputs[argument],),
        (tangent,),
    )
    with forward_ad.dual_level(), torch.set_grad_enabled(grad):
        inputs[argument] = forward_ad.make_dual(inputs[argument], tangent)
        y = dyt.pointwise_norm(*inputs)
        torch.testing.assert_close(forward_ad.unpack_dual(y).tangent, truth)


@of_scripting
@pytest.mark.parametrize("strategy", ["reverse-mode", "forward-mode"])
def test_jacobian_of_a_batch(strategy):
    module, x = layer().requires_grad_(False), torch.randn(2, 24)
    found = torch.autograd.functional.jacobian(module, x, vectorize=True, strategy=strategy)
    torch.testing.assert_close(found, torch.autograd.functional.jacobian(module, x))


def test_autocast_changes_nothing():
    module, x = layer(), torch.randn(6, 24)
    plain = gradients_of(module, x, module)
    with torch.autocast("cpu", torch.bfloat16):
        assert_same(plain, gradients_of(module, x, module))
        assert module(x.bfloat16()).dtype == torch.bfloat16


def test_checkpoint():
    module, x = layer(), torch.randn(6, 24)
    again = gradients_of(lambda t: checkpoint(module, t, use_reentrant=False), x, module)
    assert_same(again, gradients_of(module, x, module))


def test_vmap_and_grad():
    module, x = layer(), torch.randn(7, 6, 24)
    parameters = dict(module.named_parameters())

    def loss(parameters, x):
        return torch.func.functional_call(module, parameters, (x,)).square().sum()

    torch.testing.assert_close(torch.vmap(module)(x), module(x))
    with torch.no_grad():
        torch.testing.assert_close(torch.vmap(module)(x), module(x))
    per_sample = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    for i, sample in enumerate(x):
        truth = torch.autograd.grad(loss(parameters, sample), list(parameters.values()))
        assert_same([g[i] for g in per_sample.values()], truth, rtol=1e-4, atol=1e-5)
    hessian = torch.func.jacrev(torch.func.grad(loss, argnums=1), argnums=1)
    assert hessian(parameters, x[0, 0]).shape == (24, 24)


def test_copies_and_pickles_train():
    module, x = layer(), torch.randn(6, 24)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert_same(gradients_of(twin, x, twin), gradients_of(module, x, module))


def test_fake_and_meta_tensors():
    with FakeTensorMode():
        module = layer()
        x = torch.randn(6, 24, requires_grad=True)
        y = module(x)
        y.sum().backward()
        assert y.shape == x.grad.shape == (6, 24)
        assert module.weight.grad.shape == (24,)
    assert layer(device="meta")(torch.empty(6, 24, device="meta")).shape == (6, 24)


def test_modes_see_the_operator():
    seen = []

    class Spy(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    module = layer()
    with Spy():
        module(torch.randn(6, 24))
    assert any("dyt.pointwise_norm" in name for name in seen)


def test_gradcheck_in_double_precision():
    x, *parameters = (t.detach().double().requires_grad_() for t in arguments())
    x = x[:2, :1].detach().requires_grad_()
    torch.autograd.gradcheck(lambda *a: dyt.pointwise_norm(*a), (x, *parameters))


def test_formulas_of_the_gradients_are_those_of_autograd():
    x, alpha, shift, weight, bias = (t.detach().double().requires_grad_() for t in arguments())
    for channels_last in (True, False):
        inputs = x if channels_last else x.detach().movedim(-1, 1).requires_grad_()
        call = inputs, alpha, shift, weight, bias
        y = ops.eager(Call(*call, "erf", channels_last))
        dy = torch.randn_like(y)
        truth = torch.autograd.grad(y, call, dy)
        assert_same(ops.eager_backward(dy, Call(*call, "erf", channels_last)), truth)
