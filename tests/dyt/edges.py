"""Every kind of tensor, as every argument, by every route: `python -m tests.dyt.edges` prints it.

A cell is "value" where the layer and its gradients are those of the formula on plain tensors,
"error" where the call raises as `torch.nn.functional.layer_norm` or the formula itself does with
such a tensor, and anything else is a fault, told.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate

import dyt
from dyt import _ops as ops

ARGUMENTS = ("x", "alpha", "shift", "weight", "bias", "dy")
ROUTES = ("eager", "native", "bound", "triton", "compiled", "exported")
GOOD = ("value", "error", "-")


class Tagged(torch.Tensor):
    """A subclass that carries nothing but its type."""


def spread(t):
    """The same values, with gaps in memory."""
    wide = t.unsqueeze(-1).expand(*t.shape, 2).reshape(*t.shape[:-1], -1)
    return wide[..., ::2]


def expanded(t):
    """Values that repeat along the first axis, which has the stride 0."""
    return t[:1].expand(t.shape)


def negative(t):
    return torch._neg_view(-t)


def imaginary(t):
    """A negative view as it comes about: of a conjugate's imaginary part."""
    return torch.complex(torch.zeros_like(t), -t).conj().imag


def zero(t):
    return torch._efficientzerotensor(tuple(t.shape), dtype=t.dtype)


def tagged(t):
    return t.as_subclass(Tagged)


_fakes = FakeTensorMode()  # one, as a model made within it has


def fake(t):
    """Of the same shape, with no values; a leaf of its own, for none but a fake one may be."""
    return _fakes.from_tensor(t.detach()).requires_grad_(t.requires_grad)


def distributed(t):
    return DTensor.from_local(t, init_device_mesh("cpu", (1,)), [Replicate()])


def transposed(t):
    return t.transpose(0, -1).contiguous().transpose(0, -1)


KINDS = {
    "plain": lambda t: t,
    "bfloat16": lambda t: t.bfloat16(),
    "inference": lambda t: t,  # made within inference mode
    "subclass": tagged,
    "DTensor": distributed,
    "FakeTensor": fake,
    "functorch": lambda t: t,  # made by torch.vmap, below
    "ZeroTensor": zero,
    "negative bit": negative,
    "negative imaginary": imaginary,
    "expanded": expanded,
    "non-contiguous": spread,
    "transposed": transposed,
    "empty rows": lambda t: t[:0] if t.dim() > 1 else t,
    "empty": lambda t: t[..., :0] if t.numel() > 1 else t,
    "nested": None,  # of x alone, below
    "jagged": None,
}


def arguments():
    """Plain leaves by name, and the gradient of y."""
    torch.manual_seed(0)
    made = {
        "x": torch.randn(4, 3, 24),
        "alpha": torch.tensor([0.7]),
        "shift": torch.tensor([0.2]),
        "weight": torch.rand(24) + 0.5,
        "bias": torch.randn(24),
    }
    return {name: t.requires_grad_() for name, t in made.items()}, torch.randn(4, 3, 24)


def formula(x, alpha, shift, weight, bias):
    return weight * torch.tanh(alpha * x + shift) + bias


def norm(x, alpha, shift, weight, bias):
    """What a LayerNorm, and the formula around it, do with such tensors."""
    y = torch.nn.functional.layer_norm(x, x.shape[-1:], weight, bias)
    return y * alpha + shift


def layer(backend):
    def run(*tensors):
        x, alpha, shift, weight, bias = tensors
        return dyt.pointwise_norm(x, alpha, shift, weight, bias, backend=backend)

    return run


class _Module(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *tensors):
        return self.function(*tensors)


@contextlib.contextmanager
def route(name, function):
    """The function of the five tensors by this way, or None where it is not to be had."""
    before = ops.bound, ops.fused_for, ops.sought
    ops.bound, ops.sought = None, True  # what an earlier run compiled is not taken unasked
    try:
        if name == "bound":
            yield function if dyt.bind() is None else None
        elif name == "compiled":
            torch.compiler.reset()
            yield torch.compile(function, backend="aot_eager", dynamic=False)
        elif name == "exported":
            leaves, _ = arguments()
            rows = torch.export.Dim("rows", min=0)
            shapes = ({0: rows}, None, None, None, None)
            sample = tuple(t.detach() for t in leaves.values())
            program = torch.export.export(_Module(function), sample, dynamic_shapes=(shapes,))
            yield program.module()
        elif name == "triton":
            ops.fused_for = to_triton
            yield function if os.environ.get("TRITON_INTERPRET") == "1" else None
        else:
            yield function
    finally:
        ops.bound, ops.fused_for, ops.sought = before


def to_triton(x):
    """The backend of a tensor on a CPU, where Triton's interpreter computes."""
    return "triton" if x.is_cpu else "eager"


class NotMade(BaseException):
    """A kind of tensor could not be made, which says nothing about the layer: no cell's error."""


def make(kind, t):
    """t as a kind of tensor."""
    try:
        return KINDS[kind](t)
    except Exception as error:
        raise NotMade(f"{kind}: {told(error)}") from error


def results(run, leaves, dy, kind=None, argument=None):
    """y and the gradients of all leaves, with one argument (or all) as a kind of tensor."""
    made = dict(leaves)
    if kind is not None:
        for name in leaves if argument == "all" else {argument} & set(leaves):
            made[name] = make(kind, leaves[name])
    y = run(*made.values())
    dy = dy[: len(y), ..., : y.shape[-1]].to(y.dtype)
    if argument in ("dy", "all") and kind is not None:
        dy = make(kind, dy)
    if kind == "FakeTensor":
        leaves = made
    gradients = torch.autograd.grad(y, list(leaves.values()), dy, allow_unused=True)
    return [plain(t) for t in (y, *gradients)]


def plain(t):
    """Nothing but the values of t, where it has some."""
    if t is None or isinstance(t, FakeTensor):
        return t
    t = t.detach()
    t = t.full_tensor() if hasattr(t, "full_tensor") else t
    return torch.Tensor.clone(t.resolve_neg()).as_subclass(torch.Tensor).contiguous()


def batched(run, leaves, dy, argument):
    """As `results`, with one argument (or all) wrapped by torch.vmap."""
    if argument == "dy":
        y = run(*leaves.values())
        stack = torch.stack([dy, 2 * dy])
        made = torch.autograd.grad(y, list(leaves.values()), stack, is_grads_batched=True)
        return [y.detach(), *(g[0] for g in made)]
    dims = tuple(0 if argument in (name, "all") else None for name in leaves)
    given = [
        t if d is None else torch.stack([t, t]) for d, t in zip(dims, leaves.values(), strict=True)
    ]
    y = torch.vmap(run, in_dims=dims)(*given)[0]
    gradients = torch.autograd.grad(y, list(leaves.values()), dy)
    return [y.detach(), *gradients]


def nested(run, leaves, layout):
    """As `results`, with x as two components of a nested tensor."""
    x, *parameters = leaves.values()
    parts = [x[0], x[1, :2]]
    y = run(torch.nested.as_nested_tensor(parts, layout=layout), *parameters)
    values = torch.cat(list(y.unbind()))
    return [values.detach(), *torch.autograd.grad(values.square().sum(), list(leaves.values()))]


def on_parts(run, leaves):
    x, *parameters = leaves.values()
    values = torch.cat([run(t, *parameters) for t in (x[0], x[1, :2])])
    return [values.detach(), *torch.autograd.grad(values.square().sum(), list(leaves.values()))]


def compute(run, kind, argument):
    leaves, dy = arguments()
    if kind == "functorch":
        return batched(run, leaves, dy, argument)
    if kind in ("nested", "jagged"):
        return nested(run, leaves, torch.jagged if kind == "jagged" else torch.strided)
    if kind == "inference":
        with torch.inference_mode():
            return [run(*(t.detach().clone() for t in leaves.values()))]
    return results(run, leaves, dy, kind, argument)


def truth(kind, argument):
    """What the formula gives on plain tensors of these values; the error where there is none."""
    leaves, dy = arguments()
    if kind in ("nested", "jagged"):
        return on_parts(formula, leaves)
    if kind == "inference":
        return [formula(*leaves.values()).detach()]
    if kind in ("functorch", "plain", "subclass", "DTensor", "FakeTensor"):
        return results(formula, leaves, dy)
    return results(formula, leaves, dy, kind, argument)


def outcome(name, kind, argument):
    """The cell: see above."""
    if kind in ("nested", "jagged") and argument != "x":
        return "-"
    if argument == "dy" and kind in ("inference", "empty", "empty rows", "FakeTensor", "DTensor"):
        return "-"
    with route(name, layer("eager" if name == "eager" else None)) as run:
        if run is None:
            return "-"
        try:
            found = compute(run, kind, argument)
        except Exception as error:
            alike = any(raises(name, f, kind, argument) for f in (norm, formula))
            return "error" if alike else told(error)
    try:
        expected = truth(kind, argument)
    except Exception as error:
        return f"a value, where the formula raises {told(error)}"
    for what, a, b in zip(("y", *ARGUMENTS), found, expected, strict=False):
        if (a is None) != (b is None):
            if any(t is not None and t.count_nonzero() for t in (a, b)):
                return f"gradient of {what} missing"
        elif isinstance(a, FakeTensor):
            if (a.shape, a.stride(), a.dtype) != (b.shape, b.stride(), b.dtype):
                return f"{'' if what == 'y' else 'gradient of '}{what} differs"
        elif a is not None:
            coarse = torch.bfloat16 in (a.dtype, b.dtype) or kind == "bfloat16"
            try:
                tolerance = {"rtol": 0.03, "atol": 0.06} if coarse else {"rtol": 1e-4, "atol": 2e-5}
                torch.testing.assert_close(a.float(), b.float(), **tolerance)
            except AssertionError:
                return f"{'' if what == 'y' else 'gradient of '}{what} differs"
    return "value"


def raises(name, function, kind, argument):
    try:
        with route(name, function) as run:
            compute(run, kind, argument)
    except Exception:
        return True
    return False


def told(error):
    return f"{type(error).__name__}: {str(error).splitlines()[0][:60] if str(error) else ''}"


@contextlib.contextmanager
def process_group():
    """A process group of this process alone, for DTensor."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _cells(name, kind):
    with process_group():
        for argument in (*ARGUMENTS, "all"):
            print(f"{argument}\t{outcome(name, kind, argument)}", flush=True)


def _table(names):
    print(f"| kind | argument | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}")
    for kind in KINDS:
        columns = []
        for name in names:
            command = [sys.executable, "-W", "ignore", "-m", "tests.dyt.edges", name, kind]
            environment = os.environ | {"TRITON_INTERPRET": str(int(name == "triton"))}
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            cells = dict(line.split("\t", 1) for line in done.stdout.splitlines() if "\t" in line)
            for argument in (*ARGUMENTS, "all"):
                cells.setdefault(argument, f"died ({done.returncode})")
            columns.append(cells)
        for argument in (*ARGUMENTS, "all"):
            row = [cells[argument] for cells in columns]
            if any(cell != "-" for cell in row):
                print(f"| {kind} | {argument} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    assert Path("tests/dyt/edges.py").exists(), "run it in the repository's root"
    if len(sys.argv) == 3:
        _cells(*sys.argv[1:])
    else:
        _table(sys.argv[1:] or ROUTES)
