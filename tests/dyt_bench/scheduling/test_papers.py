"""The suites named after the papers: shrunk they run here, and as they are they fit a node.

Half an hour of two cores, so a session of its own: `nox -s tests_papers`.
"""

import json
import os

import pytest
from click.testing import CliRunner

from dyt_bench.cli import main
from dyt_bench.suite.shipped import shipped

PAPERS = [name for name in shipped() if name.startswith("paper/")]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("DYT_BENCH_PAPERS" not in os.environ, reason="nox -s tests_papers runs it"),
]


def run(*arguments):
    ended = CliRunner().invoke(main, [str(each) for each in arguments])
    assert ended.exit_code == 0, ended.output
    return json.loads(ended.stdout)


@pytest.mark.parametrize("name", [name for name in PAPERS if name != "paper/efficiency"])
def test_each_runs_shrunk_by_two_processes(name, tmp_path):
    chosen = ("--shrink", "--variants", "dyt paper")
    session = run("run", name, *chosen, "--workspace", tmp_path / "w", "--json")
    assert session["suite"].endswith("-shrunk")
    assert {each["status"] for each in session["runs"]} == {"finished"}
    for each in session["runs"]:
        (folder,) = (tmp_path / "w" / "runs").glob(f"*{each['identity']}*")
        about = json.loads((folder / "run.json").read_text())
        assert about["parameters"]["devices"] == 2
    assert (tmp_path / "w" / "results" / session["suite"] / "README.md").exists()


@pytest.mark.parametrize("name", PAPERS)
def test_each_fits_a_node_of_eight(name, tmp_path):
    """With its native norms; DyT holds no more."""
    chosen = ("--variants", "native", "--seeds", "1", "--workspace", tmp_path / "w", "--json")
    planned = run("plan", name, "--machine", "h100x8", *chosen)
    assert planned["runs"]
    for each in planned["runs"]:
        assert not each["problem"], each
        assert each["seconds"] > 0
