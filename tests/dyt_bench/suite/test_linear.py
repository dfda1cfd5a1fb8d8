"""Planning takes as many operations as there are runs, and no more."""

import sys

import pytest

from dyt_bench.discovery.domains import discover
from dyt_bench.records.workspace import Workspace
from dyt_bench.scheduling.forecast import forecast
from dyt_bench.suite.expand import Selection, load_suite

SUITE = """\
name: s
steps: 9973
variants: [native, dyt, derf, {name: dyt, alpha_init_value: 0.8}]
tasks:
- {domain: vision, models: [vit, convnext]}
- {domain: dna}
"""
RUNS = 12  # of a seed


@pytest.fixture
def calls(tmp_path):
    """Functions that are called to plan so many seeds, those of C included."""
    (tmp_path / "s.yaml").write_text(SUITE)
    found = discover()

    def counted(seeds):
        calls = 0

        def count(frame, event, argument):
            nonlocal calls
            calls += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            suite = load_suite(tmp_path / "s.yaml", found, Selection(seeds=seeds))
            expected = forecast(suite, Workspace(tmp_path / "work"))
        finally:
            sys.setprofile(None)
        assert len(expected.lines) == RUNS * seeds
        return calls

    counted(1)  # what is cached, and imported when it is used first
    return counted


def test_planning_takes_operations_by_the_run(calls):
    few, more, most = calls(10), calls(20), calls(40)
    assert more - few < 500 * RUNS * 10
    # Twice as many runs, twice as many operations more: none that grow with the square.
    assert most - more == pytest.approx(2 * (more - few), rel=0.05)


def test_ten_thousand_runs_are_planned(tmp_path):
    (tmp_path / "s.yaml").write_text(SUITE)
    suite = load_suite(tmp_path / "s.yaml", discover(), Selection(seeds=834))
    assert len(suite.runs) == len({run.identity for run in suite.runs}) == 10_008
