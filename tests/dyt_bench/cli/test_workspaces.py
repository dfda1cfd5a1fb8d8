"""`export`, `compare` and `clean`, on runs that take no time."""

import csv
import io
import json
from pathlib import Path

import pytest

from ..instant import loss_of

SUITE = (
    "name: s\nexecutor: instant\nseeds: [0, 1, 2]\nvariants: [native, dyt, derf]\n"
    "tasks:\n- {domain: tiny, steps: 2}\n"
)


@pytest.fixture
def ran(instant, tmp_path, monkeypatch):
    """A workspace in which the suite has run, and the command line."""
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(SUITE)
    result = instant("run", "s.yaml", "--quiet")
    assert result.exit_code == 0, result.stderr
    assert result.output == ""
    return instant


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_export_has_a_row_a_verdict_a_run_and_a_point(ran):
    verdicts = table(ran("export", "s").stdout)
    assert [row["variant"] for row in verdicts] == ["dyt", "derf"]
    assert verdicts[0]["at_budget/gains"].count(" ") == 2
    runs = table(ran("export", "s", "--table", "runs").stdout)
    assert len(runs) == 9
    assert {row["status"] for row in runs} == {"finished"}
    assert all(float(row["started"]) < float(row["ended"]) for row in runs)
    rows = table(ran("export", "s", "--table", "rows").stdout)
    assert {row["identity"] for row in rows} == {row["identity"] for row in runs}
    assert json.loads(ran("export", "s", "--json").stdout)["title"] == "s"


def test_a_workspace_compared_with_itself_is_the_same(ran):
    result = ran("compare", ".dyt-bench", ".dyt-bench", "--json")
    rows = json.loads(result.stdout)
    assert [row["variant"] for row in rows] == ["native", "derf", "dyt"]
    for row in rows:
        assert (row["same"], row["gain"], row["different"], row["seeds"]) == (
            True,
            0,
            {},
            [0, 1, 2],
        )
    assert "the same runs" in ran("compare", ".dyt-bench", ".dyt-bench").stdout


def test_two_runs_are_compared_whatever_they_are(ran):
    runs = {
        (r["variant"], r["seed"]): r for r in table(ran("export", "s", "--table", "runs").stdout)
    }
    a, b = (runs[variant, "0"]["identity"] for variant in ("native", "dyt"))
    (row,) = json.loads(ran("compare", a, b, "--json").stdout)
    assert row["different"]["variant"] == ["native", "dyt"]
    expected = loss_of("tiny/mlp/gaussian/s0 native") - loss_of("tiny/mlp/gaussian/s0 dyt")
    assert row["gain"] == pytest.approx(expected)


@pytest.mark.parametrize("side", ["nowhere", "ffffffffffff"])
def test_a_side_that_is_nowhere_is_a_mistake(ran, side):
    result = ran("compare", side, ".dyt-bench")
    assert result.exit_code == 2
    assert "is no folder with runs, nor the commit or the identity" in result.stderr


def test_clean_deletes_what_no_suite_lists_and_nothing_else(ran):
    assert "nothing to delete" in ran("clean").stdout
    Path("s.yaml").write_text(SUITE.replace(", derf", ""))
    assert ran("run", "s.yaml", "-q").exit_code == 0
    folders = sorted(Path(".dyt-bench/runs").iterdir())
    assert len(folders) == 9
    refused = ran("clean")  # nobody answers the question
    assert refused.exit_code == 1
    assert sorted(Path(".dyt-bench/runs").iterdir()) == folders
    deleted = json.loads(ran("clean", "--yes", "--json").stdout)
    assert len(deleted["deleted"]) == 3
    assert all("derf" in path for path in deleted["deleted"])
    assert len(list(Path(".dyt-bench/runs").iterdir())) == 6
    assert ran("report", "s").exit_code == 0


def test_clean_deletes_nothing_where_a_list_cannot_be_read(ran):
    Path(".dyt-bench/suites/s.json").write_text("{")
    assert "nothing to delete" in ran("clean", "--yes").stdout
    assert len(list(Path(".dyt-bench/runs").iterdir())) == 9


def test_clean_needs_a_workspace(ran):
    result = ran("clean", "--workspace", "nowhere")
    assert (result.exit_code, result.stderr) == (2, "dyt-bench: there is no workspace nowhere\n")
