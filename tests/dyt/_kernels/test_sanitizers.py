"""The driver of `nox -s sanitizers`, without sanitizers: right kernels pass, faulty ones do not."""

import re
import shutil
import subprocess

import pytest
from tests.dyt._kernels.sanitizers import run

pytestmark = pytest.mark.slow

try:
    run.compiler.find_compiler()
except run.compiler.CannotCompile as reason:
    pytest.skip(str(reason), allow_module_level=True)

KERNELS = run.KERNELS / "cpu"


def call(driver, *arguments):
    return subprocess.run([driver, *arguments], capture_output=True, text=True)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    return run.compile_driver(tmp_path_factory.mktemp("driver"), ())


def test_random_calls_are_as_by_the_formulas(driver):
    done = call(driver, "0", "300")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"300 calls at \d levels, on threads of their own: .*\n", done.stdout)


def test_they_are_on_pytorchs_runtime(driver):
    try:
        runtime = run.libgomp().runtime
    except run.Missing as reason:
        pytest.skip(str(reason))
    done = call(driver, "1", "100", runtime)
    assert done.returncode == 0, done.stderr
    assert f"on {runtime}" in done.stdout


def test_a_file_that_is_no_runtime_is_refused(driver):
    done = call(driver, "0", "1", "libc.so.6")
    assert done.returncode == 2
    assert "libc.so.6 is no OpenMP runtime" in done.stderr


# File, what is in it, what to put in its place, and what the driver says then.
FAULTS = {
    "a wrong derivative": ("functions.h", "1.f - t * t", "1.f - t", r"dx\[\d+\] is"),
    "an element too many": (
        "loops.h",
        "std::memcpy(p, whole, n * sizeof(T))",
        "std::memcpy(p, whole, (n + 1) * sizeof(T))",
        "the memory around a tensor was written to",
    ),
    "a gradient too short": (
        "loops.h",
        "for (; j < n; j++) sums[j] += values[j];",
        "for (; j + 1 < n; j++) sums[j] += values[j];",
        r"d(weight|bias)\[\d+\] is",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_driver_finds_a_fault(tmp_path, fault):
    """In kernels that have tanh alone, which compile in seconds."""
    name, right, wrong, message = FAULTS[fault]
    kernels = tmp_path / "cpu"
    shutil.copytree(KERNELS, kernels, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    functions = kernels / "functions.h"
    functions.write_text(functions.read_text().partition("})\n")[0] + "})\n")
    source = (kernels / name).read_text()
    assert source.count(right) == 1
    (kernels / name).write_text(source.replace(right, wrong))
    done = call(run.compile_driver(tmp_path, (), kernels), "0", "300")
    assert done.returncode == 1
    assert re.search(f"^call \\d+ of seed 0: {message}", done.stderr)
    assert "tanh at level" in done.stderr


def test_a_compiler_without_sanitizers_is_one_sentence(tmp_path, monkeypatch, capfd):
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\necho 'error: cannot find -lasan' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    assert run.main([]) == 1
    printed = capfd.readouterr().err
    assert printed.startswith("AddressSanitizer and UndefinedBehaviorSanitizer cannot be had")
    assert "set CXX to a g++ or clang++" in printed
    assert "cannot find -lasan" in printed
    assert printed.count("\n") == 1


@pytest.fixture
def made_up(monkeypatch):
    """Builds without compiling, and calls that are only noted: (sanitizers, threads)."""
    calls = []
    monkeypatch.setattr(run, "compile_watched", lambda _, build: build.sanitizers)
    monkeypatch.setattr(
        run, "run_driver", lambda driver, threads, *_: calls.append((driver, threads.name)) or 0
    )
    return calls


def test_threads_that_are_not_installed_are_named(made_up, monkeypatch, capsys):
    monkeypatch.setattr("ctypes.util.find_library", lambda _: None)
    monkeypatch.setattr(run, "_llvm_folders", lambda: [])
    assert run.main([]) == 0
    own = "threads of their own"
    assert made_up == [("address,undefined", own), ("thread", own)]
    printed = capsys.readouterr().out
    assert "left out, there is no libgomp: install g++" in printed
    assert "left out, there is no libomp with Archer: install clang and libomp-dev" in printed


def test_archer_is_found_beside_llvms_openmp(made_up, monkeypatch, tmp_path):
    for name in ("libomp.so", "libarcher.so"):
        (tmp_path / name).touch()
    monkeypatch.setattr(run, "_llvm_folders", lambda: [tmp_path])
    assert run.main([]) == 0
    assert made_up[-1] == ("thread", "libomp with Archer")
    threads = run.libomp()
    assert threads.runtime == str(tmp_path / "libomp.so")
    assert threads.environment["OMP_TOOL_LIBRARIES"] == str(tmp_path / "libarcher.so")


def test_the_first_failure_ends_the_session(made_up, monkeypatch):
    monkeypatch.setattr(run, "run_driver", lambda *_: 66)
    assert run.main([]) == 66
