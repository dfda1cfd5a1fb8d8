"""Compile driver.cpp with a compiler's sanitizers and run it: `nox -s sanitizers`.

Uses the standard library alone: the kernels need neither PyTorch nor an installed package.
"""

import argparse
import ctypes.util
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

HERE = Path(__file__).parent
KERNELS = HERE.parents[3] / "packages/dyt-core/src/dyt/_kernels"

_spec = importlib.util.spec_from_file_location("compiler", KERNELS / "compiler.py")
assert _spec is not None
assert _spec.loader is not None
compiler = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(compiler)


class Threads(NamedTuple):
    """Where the kernels' threads come from."""

    name: str
    runtime: str = ""  # an OpenMP library; empty: the kernels start them
    environment: dict[str, str] = {}


class Missing(Exception):
    """These threads cannot be had here; in one sentence, what to install."""


class Build(NamedTuple):
    """A driver and what it is run on."""

    name: str
    sanitizers: str
    threads: tuple[Callable[[], Threads], ...]


def own() -> Threads:
    return Threads("threads of their own")


def libgomp() -> Threads:
    """GCC's OpenMP, which PyTorch runs on."""
    found = ctypes.util.find_library("gomp")
    if found is None:
        raise Missing("there is no libgomp: install g++")
    return Threads("libgomp", found)


def libomp() -> Threads:
    """LLVM's OpenMP with Archer, which tells ThreadSanitizer how it synchronizes."""
    for folder in _llvm_folders():
        runtime, archer = folder / "libomp.so", folder / "libarcher.so"
        if runtime.exists() and archer.exists():
            # Its own code is not instrumented: what it does there is no race.
            options = "halt_on_error=1:ignore_noninstrumented_modules=1"
            environment = {"OMP_TOOL_LIBRARIES": str(archer), "TSAN_OPTIONS": options}
            return Threads("libomp with Archer", str(runtime), environment)
    raise Missing("there is no libomp with Archer: install clang and libomp-dev")


def _llvm_folders() -> list[Path]:
    folders = [Path("/usr/lib64"), Path("/usr/lib")]
    if clang := shutil.which("clang++"):
        command = [clang, "-print-resource-dir"]
        done = subprocess.run(command, capture_output=True, text=True)
        folders.insert(0, Path(done.stdout.strip()).parents[1])
    return folders


BUILDS = (
    Build("AddressSanitizer and UndefinedBehaviorSanitizer", "address,undefined", (own, libgomp)),
    # It does not understand libgomp, which is not instrumented and has no tool such as Archer.
    Build("ThreadSanitizer", "thread", (own, libomp)),
)


def compile_driver(folder: Path, flags: Sequence[str], kernels: Path = KERNELS / "cpu") -> Path:
    """The driver of the kernels in a folder, compiled.

    Raises:
        CannotCompile: in one sentence, why.
    """
    driver = folder / "driver"
    flags = (*compiler.CPU_KERNELS, "-O1", f"-I{kernels}", *flags)
    compiler.compile_library(HERE / "driver.cpp", driver, flags, ("-ldl",))
    return driver


def compile_watched(folder: Path, build: Build) -> Path:
    """The driver, compiled with sanitizers.

    Raises:
        CannotCompile: in one sentence, why; among others that the compiler has no sanitizers.
    """
    sanitize = f"-fsanitize={build.sanitizers}"
    probe = folder / "probe.cpp"
    probe.write_text("int main() { return 0; }\n")
    try:
        compiler.compile_library(probe, folder / "probe", (sanitize,))
    except compiler.CannotCompile as reason:
        raise compiler.CannotCompile(
            f"{build.name} cannot be had from this compiler, set CXX to a g++ or clang++ that has "
            f"its libraries: {reason}"
        ) from reason
    watched = ("-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all")
    return compile_driver(folder, (sanitize, *watched))


def run_driver(driver: Path, threads: Threads, seed: int, calls: int) -> int:
    """Make the calls; returns 0 where all is well, and prints what is not."""
    command = [str(driver), str(seed), str(calls)]
    if threads.runtime:
        command.append(threads.runtime)
    return subprocess.run(command, env={**os.environ, **threads.environment}).returncode


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="nox -s sanitizers --")
    parser.add_argument("--seed", type=int, default=0, help="of the random calls")
    parser.add_argument("--calls", type=int, default=500, help="on each kind of threads")
    options = parser.parse_args(arguments)
    for build in BUILDS:
        with TemporaryDirectory() as folder:
            try:
                driver = compile_watched(Path(folder), build)
            except compiler.CannotCompile as reason:
                print(reason, file=sys.stderr)
                return 1
            for source in build.threads:
                try:
                    threads = source()
                except Missing as reason:
                    print(f"{build.name}: left out, {reason}", flush=True)
                    continue
                print(f"{build.name}, {threads.name}:", flush=True)
                if status := run_driver(driver, threads, options.seed, options.calls):
                    return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
