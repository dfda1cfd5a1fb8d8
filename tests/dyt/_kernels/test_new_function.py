"""Adding a function to every backend: one entry in each of three tables, and nothing else.

The sources are copied, the entries added, the kernels compiled; each backend then computes the
function in a process of its own.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dyt
from dyt._kernels.compiler import CannotCompile, compile_library, find_compiler

pytestmark = pytest.mark.slow

try:
    find_compiler()
except CannotCompile as reason:
    pytest.skip(str(reason), allow_module_level=True)

# z / (1 + |z| / 2), of which 2 is the supremum.
FAMILY_ENTRY = """    PointwiseFunction(
        "halfsign",
        lambda z: z / (1 + z.abs() / 2),
        lambda z: (1 + z.abs() / 2).pow(-2),
        2.0,
        "this test",
    ),
"""
CPU_ENTRY = """
FUNCTION(halfsign, {
  const F d = magnitude(z) * 0.5f + 1.f;
  return {z / d, 1.f / (d * d)};
})
"""
TRITON_FUNCTIONS = """
@triton.jit
def _halfsign(z, PTX: tl.constexpr):
    return z * _reciprocal(1.0 + 0.5 * tl.abs(z), PTX)


@triton.jit
def _halfsign_slope(z, u, PTX: tl.constexpr):
    root = _reciprocal(1.0 + 0.5 * tl.abs(z), PTX)
    return root * root


"""
TRITON_ENTRY = '        "halfsign": Function(Formula(_halfsign, _halfsign_slope)),\n'

COMPUTE = """
import sys, torch, dyt
backend, out = sys.argv[1:]
torch.manual_seed(0)
layer = dyt.PointwiseNorm(24, function="halfsign", alpha_init_value=0.7, shift_init_value=0.1)
torch.nn.init.normal_(layer.weight)
x, dy = torch.randn(6, 24, requires_grad=True), torch.randn(6, 24)
if backend == "bound":
    reason = dyt.bind()
    assert reason is None, reason
with dyt.use_backend("auto" if backend == "bound" else backend):
    y = layer(x)
    y.backward(dy)
node = y.grad_fn.name()
tensors = [y.detach(), x.grad, *(p.grad for p in layer.parameters())]
torch.save({"tensors": tensors, "node": node, "dyt": dyt.__file__}, out)
"""


def insert(file, text, before):
    """Put ``text`` in front of the last place where the file says ``before``; "": at its end."""
    source = file.read_text()
    at = source.rindex(before) if before else len(source)
    file.write_text(source[:at] + text + source[at:])


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of the package with one function more, its kernels compiled."""
    folder = tmp_path_factory.mktemp("sources")
    package, ignored = Path(dyt.__file__).parent, shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(package, folder / "dyt", ignore=ignored)
    kernels = folder / "dyt/_kernels"
    insert(folder / "dyt/functions.py", FAMILY_ENTRY, ")\n\n_family = ")
    insert(kernels / "cpu/functions.h", CPU_ENTRY, "")
    insert(kernels / "triton/functions.py", TRITON_FUNCTIONS, "class Formula(")
    insert(kernels / "triton/functions.py", TRITON_ENTRY, "    }\n)")
    # Without optimization it compiles three times as fast.
    flags = ("-std=c++17", "-O0", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden")
    compile_library(kernels / "cpu/kernels.cpp", kernels / "cpu/libdyt_cpu.so", flags)
    return folder


def computed(sources, backend, **environment):
    out = sources / f"{backend}.pt"
    environment = os.environ | {"PYTHONPATH": str(sources)} | environment
    command = [sys.executable, "-c", COMPUTE, backend, str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = torch.load(out)
    assert Path(found["dyt"]).is_relative_to(sources)
    return found


@pytest.fixture(scope="module")
def eager(sources):
    """By PyTorch's formula and PyTorch's autograd."""
    found = computed(sources, "eager")
    assert "Fused" not in found["node"]
    return found["tensors"]


@pytest.mark.parametrize(
    ("backend", "node", "environment"),
    [
        ("cpu", "_FusedBackward", {"XDG_CACHE_HOME": "/nowhere"}),
        ("bound", "PointwiseNormBackward", {}),
        ("triton", "_FusedBackward", {"TRITON_INTERPRET": "1"}),
    ],
)
def test_every_backend_computes_it(sources, eager, backend, node, environment):
    if backend == "triton":
        pytest.importorskip("triton", reason="Triton comes with torch on Linux alone")
    if backend == "bound" and (reason := dyt.bind()) is not None:
        pytest.skip(f"no binding: {reason}")
    found = computed(sources, backend, **environment)
    assert found["node"] == node
    torch.testing.assert_close(found["tensors"], eager, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("backend", "message"),
    [("cpu", "reinstall dyt-core"), ("triton", "dyt.FAMILY lacks halfsign")],
)
def test_a_kernel_for_a_function_that_the_family_lacks_is_refused(sources, backend, message):
    shorter = sources / "shorter"
    shutil.copytree(sources / "dyt", shorter / "dyt", dirs_exist_ok=True)
    file = shorter / "dyt/functions.py"
    file.write_text(file.read_text().replace(FAMILY_ENTRY, ""))
    code = (
        f"import torch, dyt\ndyt.dynamic_tanh(torch.ones(2, 4), torch.ones(1), backend={backend!r})"
    )
    environment = os.environ | {"PYTHONPATH": str(shorter), "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert message in done.stderr
