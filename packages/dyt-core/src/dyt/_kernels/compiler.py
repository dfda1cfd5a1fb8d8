"""Find a C++ compiler and make a shared library, or a program, with it.

Uses the standard library alone: `hatch_build.py` loads this file by its path, before the package
and PyTorch are there to import.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

# How kernels.cpp is compiled, into whatever. NaN and infinities must pass: no -ffast-math, only the
# parts of it that change no values (nothing reads errno or the trap flags), and fused
# multiply-adds, which round once less.
CPU_KERNELS = (
    "-std=c++17",
    "-pthread",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-fno-exceptions",
    "-fno-rtti",
)
COMPILERS = ("c++", "g++", "clang++")
TIMEOUT_S = 600


class CannotCompile(Exception):
    """There is no library; in one sentence, why."""


def find_compiler() -> str:
    """Path of the compiler that the environment variable CXX names, or of the first known one.

    Raises:
        CannotCompile: none is installed.
    """
    names = (os.environ["CXX"],) if os.environ.get("CXX") else COMPILERS
    for name in names:
        if found := shutil.which(name):
            return found
    raise CannotCompile(f"no C++ compiler, looked for {', '.join(names)}")


def compile_library(
    source: Path, library: Path, flags: Sequence[str], libraries: Sequence[str] = ()
) -> None:
    """Write ``library``, or a program: all of it or nothing, a process may have an older one open.

    Args:
        source: the one file to compile; headers are found beside it.
        flags: arguments of the compiler before the source.
        libraries: arguments after it, such as ``-lc10``.

    Raises:
        CannotCompile: there is no compiler, it failed, or the library cannot be written.
    """
    compiler = find_compiler()
    fresh = library.with_suffix(f".{os.getpid()}")
    command = [compiler, *flags, str(source), "-o", str(fresh), *libraries]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if "error" in line]
            why = "; ".join(errors[:2]) or done.stderr.strip()[-500:]
            raise CannotCompile(f"{compiler} failed: {why}")
        fresh.replace(library)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotCompile(f"{compiler} could not write {library}: {error}") from error
    finally:
        fresh.unlink(missing_ok=True)
