"""Compile and load binding.cpp, which calls the CPU kernels without Python in between.

It is written for the releases of PyTorch in `RELEASES`, and refused for any other. The compiled
file lies beside this one where the package was built beside PyTorch, else in the user's cache, by
the PyTorch and the Python that it is for, so that a machine compiles it once.
"""

import hashlib
import importlib.util
import os
import platform
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dyt._kernels.compiler import CannotCompile, compile_library
from dyt._kernels.cpu import launcher as cpu

_HERE = Path(__file__).parent
_SOURCES = (_HERE / "binding.cpp", _HERE.parent / "cpu" / "calls.h")
_MODULE = "_dyt_binding"  # its PyInit function must have the same name
_FLAGS = ("-std=c++20", "-O2", "-fPIC", "-shared", "-fvisibility=hidden")
_LIBRARIES = ("-lc10", "-ltorch_cpu", "-ltorch_python")

# Those of `nox -s minimums`: the C++ interface of autograd's nodes may change with every release.
RELEASES = ("2.9", "2.10", "2.11", "2.12", "2.13", "2.14")

# (x, alpha, shift, weight, bias, code of the function, channels_last) -> y, or None where the
# call must go through Python
Bound = Callable[..., torch.Tensor | None]


class Unavailable(Exception):
    """There is no binding; in one sentence, why."""


def load(gradients: Callable[..., Any], *, compiling: bool) -> Bound:
    """The binding's one function.

    Args:
        gradients: computes the gradients by operators, which are differentiable in turn.
        compiling: whether to compile it where it is not yet, which takes half a minute.

    Raises:
        Unavailable: it is not compiled, or cannot be here.
    """
    if (reason := cpu.missing()) is not None:
        raise Unavailable(reason)
    path = _found()
    if not path.exists():
        if not compiling:
            raise Unavailable(f"there is no {path}: dyt.bind() compiles it")
        _compile(path)
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError as error:
        raise Unavailable(f"{path} cannot be loaded ({error}): delete it") from error
    module.start(*cpu.addresses(), gradients)
    bound: Bound = module.pointwise_norm
    return bound


def build() -> str | None:
    """Compile it beside this file, for the PyTorch that is installed: `hatch_build.py` calls this.

    Returns:
        None, or in one sentence why there is none.
    """
    path = _HERE / _name()
    for older in _HERE.glob(f"{_MODULE}-*.so"):
        if older != path:
            older.unlink()
    try:
        if not path.exists():
            compile_library(_SOURCES[0], path, *_options())
    except (CannotCompile, Unavailable) as reason:
        return str(reason)
    return None


def _found() -> Path:
    """Where it lies: beside this file, or else in the user's cache, now or once it is compiled."""
    name = _name()
    if (beside := _HERE / name).exists():
        return beside
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "dyt" / name


def _name() -> str:
    """Of the file for these sources, this PyTorch and this Python."""
    facts = [
        torch.__version__,
        str(torch.version.git_version),
        str(torch.compiled_with_cxx11_abi()),
        sysconfig.get_config_var("SOABI") or sys.version,
        platform.system(),
        platform.machine(),
        *platform.libc_ver(),
        *_FLAGS,
        *(path.read_text() for path in _SOURCES),
    ]
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
    return f"{_MODULE}-{digest}.so"


def _compile(path: Path) -> None:
    """Write the extension to ``path``; of processes that need it at once, one compiles.

    Raises:
        Unavailable: a compiler, a header or the right to write is missing.
    """
    import fcntl  # not on Windows, where there are no CPU kernels either

    options = _options()
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
            compile_library(_SOURCES[0], fresh, *options)
            fresh.replace(path)
    except OSError as error:
        raise Unavailable(f"it cannot be compiled into {path.parent}: {error}") from error
    except CannotCompile as reason:
        raise Unavailable(str(reason)) from reason


def _options() -> tuple[list[str], list[str]]:
    """The compiler's flags, with the folders of headers, and the libraries to link to.

    Raises:
        Unavailable: Python's headers are missing, or PyTorch is of another release.
    """
    python, pytorch = Path(sysconfig.get_path("include")), _torch() / "include"
    if not (python / "Python.h").exists():
        raise Unavailable(f"no Python.h in {python}: install Python's headers (python3-dev)")
    if (release := ".".join(torch.__version__.split(".")[:2])) not in RELEASES:
        raise Unavailable(
            f"the binding is written for PyTorch {RELEASES[0]} to {RELEASES[-1]}; "
            f"found {release}: layers go through Python"
        )
    headers = (python, pytorch, pytorch / "torch/csrc/api/include")
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    flags = [*_FLAGS, abi, *(f"-I{folder}" for folder in headers)]
    return flags, [f"-L{_torch() / 'lib'}", *_LIBRARIES]


def _torch() -> Path:
    return Path(torch.__file__).parent
