"""Build hook: compile the CPU kernels; without a C++ compiler, build the package without them.

Where PyTorch can be imported while the package is built (``pip install --no-build-isolation``), the
binding to it is compiled too.
"""

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

KERNELS = "src/dyt/_kernels"
LIBRARY = f"{KERNELS}/cpu/libdyt_cpu.so"

BINDING = f"{KERNELS}/cpu_autograd/_dyt_binding-*.so"
FLAGS = ("-O2", "-fPIC", "-shared", "-fvisibility=hidden")


class CpuKernels(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile into the source tree, where an editable install finds the library too."""
        root = Path(self.root)
        if self.target_name != "wheel":
            return
        reason = build(root / KERNELS)
        if reason is not None:
            self.app.display_warning(f"dyt-core without its CPU kernels: {reason}")
            return
        build_data["artifacts"].append(LIBRARY)
        if importlib.util.find_spec("torch") is not None:
            if (reason := bind(root / "src")) is not None:
                self.app.display_warning(f"dyt-core without its prebuilt binding: {reason}")
            build_data["artifacts"].append(BINDING)
        build_data["pure_python"] = False
        # Any Python 3 can load it; only the operating system and the processor matter.
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"


def build(kernels: Path) -> str | None:
    """Compile the library below the folder ``kernels`` unless it is newer than its sources.

    Returns:
        None, or in one sentence why there is no library; then an older one is gone too.
    """
    library = kernels / "cpu/libdyt_cpu.so"
    sources = (*library.parent.glob("*.cpp"), *library.parent.glob("*.h"))
    changed = max(path.stat().st_mtime for path in sources)
    if library.exists() and library.stat().st_mtime >= changed:
        return None
    library.unlink(missing_ok=True)
    if sys.platform == "win32":
        return "they are not written for Windows"
    compiler = _load(kernels / "compiler.py")
    try:
        flags = (*compiler.CPU_KERNELS, *FLAGS)
        compiler.compile_library(library.with_name("kernels.cpp"), library, flags)
    except compiler.CannotCompile as reason:
        return str(reason)
    return None


def bind(source: Path) -> str | None:
    """Compile the binding of the package below ``source`` to the PyTorch that is installed.

    Returns:
        None, or why there is none.
    """
    code = "from dyt._kernels.cpu_autograd import binding; print(binding.build() or '', end='')"
    environment = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    return (done.stdout if done.returncode == 0 else done.stderr.strip()[-500:]) or None


def _load(path: Path) -> ModuleType:
    """The module at ``path``: its package cannot be imported yet, for it needs PyTorch."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
