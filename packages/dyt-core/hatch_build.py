"""Compile the CPU kernels while the package is built; without a compiler, build without them."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "src/dyt/_kernels/cpu/native.cpp"
HEADERS = ("native_calls.h", "native_loops.h")  # beside it, and included by it
LIBRARY = "src/dyt/_kernels/cpu/libdyt_native.so"
COMPILERS = ("c++", "g++", "clang++")

# NaN and infinities must pass: no -ffast-math, only the parts of it that do not change values
# (nobody reads errno or the trap flags) and fused multiply-adds, which round once less.
FLAGS = (
    "-std=c++17",
    "-O2",
    "-fPIC",
    "-shared",
    "-pthread",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-fno-exceptions",
    "-fno-rtti",
    "-fvisibility=hidden",
)


class NativeKernels(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile into the source tree, where an editable install finds it too."""
        root = Path(self.root)
        if self.target_name != "wheel":
            return
        library = root / LIBRARY
        reason = compile_library(root / SOURCE, library)
        if reason is not None:
            library.unlink(missing_ok=True)  # that of an older source
            self.app.display_warning(f"dyt-core without its native CPU kernels: {reason}")
            return
        build_data["artifacts"].append(LIBRARY)
        build_data["pure_python"] = False
        # Any Python 3 can load it; only the operating system and the processor matter.
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"


def compile_library(source: Path, library: Path) -> str | None:
    """The reason it could not be compiled, or None. Up to date is compiled."""
    if sys.platform == "win32":
        return "they are not written for Windows"
    files = (source, *(source.with_name(name) for name in HEADERS))
    changed = max(path.stat().st_mtime for path in files if path.exists())
    if library.exists() and library.stat().st_mtime >= changed:
        return None
    names = (os.environ["CXX"],) if os.environ.get("CXX") else COMPILERS
    compiler = next((found for name in names if (found := shutil.which(name))), None)
    if compiler is None:
        return f"no C++ compiler, looked for {', '.join(names)}"
    # Into a file of its own first: a process may have the old library open.
    fresh = library.with_suffix(f".{os.getpid()}")
    try:
        command = [compiler, *FLAGS, str(source), "-o", str(fresh)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            return f"{compiler} failed: {done.stderr.strip()[-1000:]}"
        fresh.replace(library)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{compiler} could not be run: {error}"
    finally:
        fresh.unlink(missing_ok=True)
    return None
