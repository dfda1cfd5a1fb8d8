"""The benchmark of the layers alone, `nox -s kernels`."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.kernels.gate import judge

from dyt._kernels.cpu import launcher as cpu

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    cpu.missing() is not None, reason=f"no CPU kernels: {cpu.missing()}"
)


def bench(folder, *options):
    command = [sys.executable, "-m", "benchmarks.kernels", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_one_size_makes_rows_a_plot_and_runs(tmp_path):
    options = ("--size", "256x192", "--dtype", "bfloat16", "--rounds", "7", "--no-compile")
    done = bench(tmp_path, *options, "--json", "--out", "out")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {row["pass_"] for row in rows} == {"forward", "forward+backward", "inference"}
    by_layer = {row["layer"]: row for row in rows if row["pass_"] == "forward+backward"}
    assert by_layer["clone"]["ratio"] == 1
    assert by_layer["DyT cpu"]["kept_mb"] == 0
    assert by_layer["published eager"]["kept_mb"] == pytest.approx(256 * 192 * 2 / 1e6)
    assert json.loads((tmp_path / "out/cpu-bfloat16.json").read_text()) == rows
    assert (tmp_path / "out/cpu-bfloat16.png").stat().st_size > 10_000
    with sqlite3.connect(tmp_path / ".dyt-bench/mlflow.db") as store:
        runs = store.execute("select name, status from runs").fetchall()
    store.close()
    assert set(runs) == {(f"{layer} bfloat16", "FINISHED") for layer in by_layer}


def test_cold_caches_are_timed_apart(tmp_path):
    case = ("--size", "256x192", "--dtype", "float32", "--pass", "forward+backward")
    done = bench(tmp_path, *case, "--rounds", "7", "--no-compile", "--cold", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert "cold caches" in done.stdout
    assert "limits" not in done.stdout
    rows = json.loads((tmp_path / "out/cpu-float32-cold.json").read_text())
    assert {"clone", "DyT cpu", "nn.LayerNorm"} <= {row["layer"] for row in rows}
    refused = bench(tmp_path, *case, "--cold", "--gate")
    assert (refused.returncode, "leave out --cold" in refused.stderr) == (2, True)


def test_the_gate_says_which_limits_are_exceeded():
    case = "4096x768", "float32", "forward"
    quick, slow = [1.0, 1.0, 9.0], [2.0, 2.0, 2.0]
    found = judge({case: {"DyT cpu": quick, "clone": quick, "nn.LayerNorm": slow}})
    assert [(v.limit.to, v.ratio, v.kept) for v in found] == [
        ("clone", 1.0, True),
        ("nn.LayerNorm", 0.5, True),
    ]
    (short, _) = judge({case: {"DyT cpu": slow, "clone": quick, "nn.LayerNorm": slow}})
    assert not short.kept


def test_an_unknown_size_is_named(tmp_path):
    done = bench(tmp_path, "--size", "1x1")
    assert done.returncode == 2
    assert "'1x1' is not one of" in done.stderr
