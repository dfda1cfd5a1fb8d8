"""Compile and load binding.cpp: calls of the CPU kernels without Python in between.

Kept in the user's cache by the PyTorch and the Python it is for; a machine compiles it once.
"""

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dyt._kernels.cpu import launcher as native

_HERE = Path(__file__).parent
_SOURCES = (_HERE / "binding.cpp", _HERE.parent / "cpu" / "native_calls.h")
_MODULE = "_dyt_binding"  # its PyInit function's name says so too
_COMPILERS = ("c++", "g++", "clang++")
_FLAGS = ("-std=c++20", "-O2", "-fPIC", "-shared", "-fvisibility=hidden")
_LIBRARIES = ("-lc10", "-ltorch_cpu", "-ltorch_python")
_TIMEOUT_S = 600

# (x, alpha, shift, weight, bias, place in native.FUNCTIONS, channels_last) -> y, or None
Call = Callable[..., torch.Tensor | None]


class Unavailable(Exception):
    """Why there is no binding here, in one sentence."""


def load(gradients: Callable[..., Any]) -> Call:
    """The binding's one function, compiled first if it has to be: half a minute.

    Args:
        gradients: computes them by operators, which are differentiable in turn.

    Raises:
        Unavailable: it cannot be compiled here.
    """
    if (reason := native.missing()) is not None:
        raise Unavailable(reason)
    path = _path()
    if not path.exists():
        _compile(path)
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError as error:
        raise Unavailable(f"{path} cannot be loaded ({error}): delete it") from error
    module.start(*native.addresses(), gradients)
    call: Call = module.pointwise_norm
    return call


def _path() -> Path:
    """Where the binding for these sources, this PyTorch and this Python is kept."""
    facts = [
        torch.__version__,
        str(torch.version.git_version),
        str(torch.compiled_with_cxx11_abi()),
        sysconfig.get_config_var("SOABI") or sys.version,
        platform.platform(),
        *_FLAGS,
        *(path.read_text() for path in _SOURCES),
    ]
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "dyt" / f"{_MODULE}-{digest}.so"


def _compile(path: Path) -> None:
    """Write the library, all of it or nothing; processes that want it at once wait for one.

    Raises:
        Unavailable: a compiler, a header or the right to write is missing.
    """
    import fcntl  # not on Windows, for which there are no native kernels either

    command = [*_command(), str(_SOURCES[0])]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=path.parent) as folder,
            path.with_suffix(".lock").open("w") as lock,
        ):
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists():
                return
            fresh = Path(folder) / path.name
            command += ["-o", str(fresh), f"-L{_torch() / 'lib'}", *_LIBRARIES]
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
            if done.returncode != 0:
                errors = [line for line in done.stderr.splitlines() if "error" in line]
                why = "; ".join(errors[:2]) or done.stderr[-500:]
                raise Unavailable(f"{command[0]} failed: {why}")
            fresh.replace(path)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"it cannot be compiled into {path.parent}: {error}") from error


def _command() -> list[str]:
    """The compiler with its flags and folders of headers."""
    names = (os.environ["CXX"],) if os.environ.get("CXX") else _COMPILERS
    compiler = next((found for name in names if (found := shutil.which(name))), None)
    if compiler is None:
        raise Unavailable(f"no C++ compiler, looked for {', '.join(names)}")
    python, pytorch = Path(sysconfig.get_path("include")), _torch() / "include"
    if not (python / "Python.h").exists():
        raise Unavailable(f"no Python.h in {python}: install Python's headers (python3-dev)")
    edge = pytorch / "torch/csrc/autograd/edge.h"
    if not edge.exists() or "intrusive_ptr<Node>" not in edge.read_text():
        raise Unavailable(
            f"PyTorch {torch.__version__} is not what this was written for: take 2.14"
        )
    headers = (python, pytorch, pytorch / "torch/csrc/api/include")
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    return [compiler, *_FLAGS, abi, *(f"-I{folder}" for folder in headers)]


def _torch() -> Path:
    return Path(torch.__file__).parent
