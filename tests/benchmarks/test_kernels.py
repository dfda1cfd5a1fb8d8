"""The benchmark of the layers alone, `nox -s kernels`."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.kernels.cases import CASES
from benchmarks.kernels.gate import judge, repeat
from benchmarks.kernels.measure import Row
from benchmarks.kernels.results import limits, slug

from dyt._kernels.cpu import launcher as cpu

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(cpu.missing() is not None, reason=f"no CPU kernels: {cpu.missing()}"),
]


def bench(folder, *options):
    command = [sys.executable, "-m", "benchmarks.kernels", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_one_size_makes_rows_a_heat_map_and_runs(tmp_path):
    options = ("--size", "256x192", "--types", "bf16", "--rounds", "7")
    done = bench(tmp_path, *options, "--json", "--out", "out")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {row["case"] for row in rows} == {
        "256x192 bf16 forward, 1T",
        "256x192 bf16 forward+backward, 1T",
    }
    by_layer = {row["layer"]: row for row in rows if "backward" in row["case"]}
    assert by_layer["LayerNorm"]["ratio"] == 1
    assert by_layer["DyT"]["kept_mb"] == 0
    assert by_layer["formula"]["kept_mb"] == pytest.approx(256 * 192 * 2 / 1e6)
    (folder,) = (tmp_path / "out").iterdir()
    written = json.loads((folder / "layers.json").read_text())
    assert written["rows"] == rows
    assert slug(written["where"].partition(", kernels")[0]) == folder.name
    assert (folder / "layers.png").stat().st_size > 5_000
    with sqlite3.connect(tmp_path / ".dyt-bench/mlflow.db") as store:
        runs = store.execute("select name, status from runs").fetchall()
    store.close()
    assert set(runs) == {(layer, "FINISHED") for layer in by_layer}


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("Intel(R) Xeon(R) Processor", "intel-xeon"),
        ("Intel(R) Xeon(R) Platinum 8488C CPU @ 2.40GHz", "intel-xeon-platinum-8488c"),
        ("AMD EPYC", "amd-epyc"),
        ("NVIDIA H200", "nvidia-h200"),
        ("(R)", "unknown"),
    ],
)
def test_results_have_a_folder_for_each_processor(name, folder):
    assert slug(name) == folder


def test_cold_caches_are_timed_apart(tmp_path):
    case = ("--size", "256x192", "--types", "fp32", "--pass", "forward+backward")
    done = bench(tmp_path, *case, "--rounds", "7", "--cold", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert "cold caches" in done.stdout
    assert "no longer than" not in done.stdout
    (written,) = (tmp_path / "out").glob("*/layers-cold.json")
    rows = json.loads(written.read_text())["rows"]
    assert {"clone", "DyT", "LayerNorm"} <= {row["layer"] for row in rows}
    refused = bench(tmp_path, *case, "--cold", "--gate")
    assert (refused.returncode, "leave out --cold" in refused.stderr) == (2, True)


def rows(case, ratio, scatter):
    """DyT and A/A of a case, of which A/A scatters so much between its quartiles."""
    low, high = 1 - scatter / 2, 1 + scatter / 2
    return [
        Row(case, "DyT", 7, 1.0, ratio, ratio, ratio, 0.0),
        Row(case, "A/A", 7, 1.0, 1.0, low, high, 0.0),
    ]


def test_the_limit_is_layer_norms_time_and_half_of_what_it_scatters():
    found = judge([*rows("a", 1.04, 0.1), *rows("b", 1.06, 0.1), *rows("c", 0.5, 0.0)])
    assert [verdict.kept for verdict in found] == [True, False, True]
    assert [verdict.at_most for verdict in found] == pytest.approx([1.05, 1.05, 1.0])


def test_a_case_that_scatters_too_much_is_not_kept():
    """Nor is it said to exceed anything: a busy machine proves neither."""
    (noisy,) = judge(rows("a", 1.1, 0.4))
    assert (noisy.judged, noisy.kept) == (False, False)
    assert next(limits([noisy])).startswith("TOO NOISY 1.100")
    (fast,) = judge(rows("a", 0.5, 0.4))
    assert fast.kept


def test_a_case_that_was_measured_again_is_judged_by_that():
    first = [*rows("a", 1.2, 0.1), *rows("b", 0.8, 0.1)]
    found = judge(repeat(first, rows("a", 0.9, 0.1)))
    assert {verdict.case: verdict.ratio for verdict in found} == {"b": 0.8, "a": 0.9}


def test_the_cases_differ_and_reach_from_narrow_to_wide():
    assert len(set(map(str, CASES))) == len(CASES) >= 60
    widths = {case.features for case in CASES}
    assert min(widths) == 64
    assert max(widths) == 8192
    assert any(width % 2 for width in widths)


def test_an_unknown_size_is_named(tmp_path):
    done = bench(tmp_path, "--size", "1x1")
    assert done.returncode == 2
    assert "'1x1' is not one of" in done.stderr


def test_a_launch_is_timed_without_a_gpu(tmp_path):
    pytest.importorskip("triton", reason="Triton comes with torch on Linux alone")
    command = [sys.executable, "-m", "benchmarks.kernels.launch", "--rounds", "3", "--json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TRITON_INTERPRET": "0"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [row for row in json.loads(done.stdout) if row["layer"] == "DyT"]
    assert [row["pass"] for row in rows] == ["forward", "forward and backward"]
    assert 0 < rows[0]["us"] < rows[1]["us"]
