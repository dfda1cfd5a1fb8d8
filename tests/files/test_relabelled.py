"""A folder whose labels change is trained on again, and its old result stays its own."""

import io
from contextlib import contextmanager

import pytest
from rich.console import Console
from tests.dyt_images.layouts import paint

from dyt_bench.discovery.domains import discover
from dyt_bench.records.workspace import Workspace
from dyt_bench.scheduling import runner
from dyt_bench.scheduling.board import Board
from dyt_bench.suite.expand import load_suite

SUITE = """
name: mine
variants: [native]
steps: 2
tasks:
- {domain: vision, models: [vit-w48], datasets: [folder], path: pictures, batch_size: 2}
"""


class NoTracker:
    def follow(self, record):
        pass


class Here:
    """An executor that does jobs in this process, and counts them."""

    def __init__(self):
        self.jobs = 0

    def __call__(self, preload):
        return self

    def load(self, name):
        return self

    @contextmanager
    def run(self, job, log, limits):
        self.jobs += 1
        events = []
        yield [*events, {"event": "outcome", "value": job(events.append)}]


@pytest.fixture
def here(monkeypatch):
    executor = Here()
    monkeypatch.setattr(runner, "EXECUTORS", executor)
    return executor


def run(folder):
    """The result of the suite's run, and the folder of its record."""
    found = discover()
    suite = load_suite(folder / "suite.yaml", found)
    workspace = Workspace(folder / "workspace")
    board = Board(Console(file=io.StringIO()), suite.runs, {"vision": "val/acc"})
    with workspace.opened():
        (result,) = runner.Runner(suite, workspace, NoTracker(), board, found).run()
    return result, workspace.record(suite.runs[0]).folder


@pytest.mark.parametrize("change", ["a picture moves", "the classes are exchanged"])
def test_a_relabelled_folder_trains_again(tmp_path, here, change):
    (tmp_path / "suite.yaml").write_text(SUITE)
    pictures = tmp_path / "pictures"
    paint(pictures, 6)
    first, kept = run(tmp_path)
    assert run(tmp_path) == (first, kept)
    assert here.jobs == 1
    if change == "a picture moves":
        (pictures / "red" / "5.png").rename(pictures / "blue" / "of-red.png")
    else:
        for old, new in (("red", "third"), ("blue", "red"), ("third", "blue")):
            (pictures / old).rename(pictures / new)
    again, other = run(tmp_path)
    assert here.jobs == 2
    assert other != kept
    assert again.facts["batches"] != first.facts["batches"]
    assert again.status == first.status == "finished"
