"""Whatever a tensor is: the formula's value, or the error that a LayerNorm raises."""

import multiprocessing
import os
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from tests.dyt import edges
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_module, distribute_tensor

import dyt
from dyt import _ops as ops
from dyt._kernels.cpu import launcher as cpu

pytestmark = [
    pytest.mark.skipif(cpu.missing() is not None, reason=f"no CPU kernels: {cpu.missing()}"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
    pytest.mark.filterwarnings("ignore:There is a performance drop because we have not yet"),
    # The compiler looks at the gradient of a tensor that is not a leaf.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:numpy"),
]

INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"
HERE = [
    # A graph for every cell takes a second.
    pytest.param(name, marks=pytest.mark.slow if name in ("compiled", "exported") else ())
    for name in edges.ROUTES
    if (name == "triton") == INTERPRETING
]


@pytest.fixture(scope="module")
def group():
    with edges.process_group():
        yield


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("kind", edges.KINDS)
@pytest.mark.parametrize("route", HERE)
def test_every_kind_of_tensor_as_every_argument(route, kind):
    found = {
        argument: edges.outcome(route, kind, argument) for argument in (*edges.ARGUMENTS, "all")
    }
    assert {name: cell for name, cell in found.items() if cell not in edges.GOOD} == {}


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETING, reason="this is the interpreter's process")
def test_in_tritons_interpreter():
    pytest.importorskip("triton", reason="Triton comes with torch on Linux alone")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(
        command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


# ---- what comes back from autograd


def saved_as(change):
    """Hooks that return a tensor of x's size changed, the others as they are."""
    return torch.autograd.graph.saved_tensors_hooks(
        lambda t: change(t) if t.numel() > 24 else t, lambda t: t
    )


CHANGES = {
    "dtype": lambda t: t.bfloat16(),
    "shape": lambda t: t[:1].clone(),
    "more rows": lambda t: torch.cat([t, t]),
    "device": lambda t: t.to("meta"),
}


@pytest.fixture(params=["python", "bound"])
def bound(request, monkeypatch):
    monkeypatch.setattr(ops, "bound", None)
    if request.param == "bound" and (reason := dyt.bind()) is not None:
        pytest.skip(f"no binding: {reason}")


@pytest.mark.usefixtures("bound")
@pytest.mark.parametrize("change", CHANGES)
def test_a_saved_input_that_comes_back_changed_is_refused(change):
    layer, x = dyt.DynamicTanh(24), torch.randn(6, 24, requires_grad=True)
    with saved_as(CHANGES[change]):
        y = layer(x)
    with pytest.raises(RuntimeError, match=r"^x is .* in backward, expected float.* as in forward"):
        y.sum().backward()


@pytest.mark.usefixtures("bound")
@pytest.mark.parametrize(
    "keep",
    [lambda t: t.t().contiguous().t(), lambda t: t.as_subclass(edges.Tagged), edges.negative],
)
def test_a_saved_input_may_come_back_as_another_kind_of_tensor(keep):
    layer, x = dyt.DynamicTanh(24), torch.randn(6, 24, requires_grad=True)
    with saved_as(keep):
        y = layer(x)
    truth = torch.autograd.grad(layer(x).square().sum(), [x, *layer.parameters()])
    found = torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])
    for a, b in zip(found, truth, strict=True):
        torch.testing.assert_close(a.as_subclass(torch.Tensor), b)


@pytest.mark.usefixtures("bound")
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_layer_cast_between_forward_and_backward_is_refused(dtype):
    layer, x = dyt.DynamicTanh(24), torch.randn(6, 24, requires_grad=True)
    y = layer(x)
    layer.to(dtype)
    with pytest.raises(RuntimeError, match=r"alpha is .* in backward, expected float"):
        y.sum().backward()


@pytest.mark.usefixtures("bound")
@pytest.mark.parametrize("change", ["dtype", "shape"])
def test_a_gradient_that_a_hook_changed_is_refused(change):
    layer, x = dyt.DynamicTanh(24), torch.randn(6, 24, requires_grad=True)
    y = layer(x)
    y.grad_fn.register_prehook(lambda gradients: (CHANGES[change](gradients[0]),))
    with pytest.raises(RuntimeError, match=r"has changed the (type|size) of value"):
        y.sum().backward()


@pytest.mark.usefixtures("bound")
def test_graph_operators_are_guarded_too():
    x, weight = torch.randn(6, 24), torch.ones(23)
    call = torch.ones(1), None, weight, None, "tanh", True, "cpu"
    with pytest.raises(ValueError, match="weight must have shape"):
        torch.ops.dyt.pointwise_norm(x, *call)
    with pytest.raises(RuntimeError, match="the gradient of y is"):
        torch.ops.dyt.pointwise_norm_backward(
            x[:1], x, torch.ones(1), None, None, None, "tanh", True, "cpu"
        )


# ---- tensors that lie on several devices


def shards(rank, file, failures):
    """Replicated parameters, as sequence parallelism has them, and every sharding of x."""
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    torch.manual_seed(0)
    x, dy = torch.randn(4, 6, 24), torch.randn(4, 6, 24)
    module = dyt.DynamicTanh(24)
    leaf = x.clone().requires_grad_()
    truth = [module(leaf), *torch.autograd.grad(module(leaf), [leaf, *module.parameters()], dy)]
    distribute_module(module, mesh)  # replicates parameters
    for placement in (Shard(0), Shard(1), Shard(2), Replicate()):
        leaf = distribute_tensor(x, mesh, [placement]).requires_grad_()
        y = module(leaf)
        given = distribute_tensor(dy, mesh, [placement])
        found = [y, *torch.autograd.grad(y, [leaf, *module.parameters()], given)]
        if y.placements != (placement,):
            failures.put(f"{placement}: y is {y.placements}")
        for a, b in zip(found, truth, strict=True):
            if not torch.allclose(a.full_tensor(), b, rtol=1e-4, atol=1e-5):
                failures.put(f"{placement} differs")
    dist.destroy_process_group()


@pytest.mark.skipif(INTERPRETING, reason="this is the interpreter's process")
def test_sharded_inputs(tmp_path):
    failures = multiprocessing.get_context("spawn").SimpleQueue()
    torch.multiprocessing.spawn(shards, (tmp_path / "store", failures), nprocs=2)
    assert failures.empty(), failures.get()


@pytest.mark.slow  # it takes 9 GB
@pytest.mark.skipif(INTERPRETING, reason="takes the interpreter hours")
@pytest.mark.usefixtures("bound")
def test_more_elements_than_32_bits_count():
    last = torch.randn(24).bfloat16()
    x = torch.zeros(2**31 // 24 + 2, 24, dtype=torch.bfloat16)
    x[-1] = last
    with torch.no_grad():
        y = dyt.DynamicTanh(24)(x)
    assert not y[:-1].count_nonzero()
    torch.testing.assert_close(y[-1], torch.tanh(0.5 * last))
