"""A folder whose labels change is trained on again, and its old result stays its own."""

import io

import pytest
from rich.console import Console
from tests.dyt_images.layouts import paint

from dyt_bench.discovery.domains import discover
from dyt_bench.records.workspace import Workspace
from dyt_bench.scheduling.board import Board
from dyt_bench.scheduling.runner import How, Runner
from dyt_bench.suite.expand import load_suite

SUITE = """
name: mine
variants: [native]
steps: 2
tasks:
- {domain: vision, models: [vit-w32], datasets: [folder], path: pictures, batch_size: 2}
"""


class NoTracker:
    def follow(self, record):
        pass


def run(folder):
    """The result of the suite's run, and the folder of its record."""
    found = discover()
    suite = load_suite(folder / "suite.yaml", found)
    workspace = Workspace(folder / "workspace")
    board = Board(Console(file=io.StringIO()), suite.runs, {"vision": "val/acc"})
    with workspace.opened():
        ((_, result),) = Runner(suite, workspace, NoTracker(), board, found, How(jobs=1)).run()
    return result, workspace.record(suite.runs[0]).folder


@pytest.mark.slow
def test_a_relabelled_folder_trains_again(tmp_path):
    (tmp_path / "suite.yaml").write_text(SUITE)
    pictures = tmp_path / "pictures"
    paint(pictures, 6)
    first, kept = run(tmp_path)
    assert run(tmp_path) == (first, kept)  # with its times: it did not train
    (pictures / "red" / "5.png").rename(pictures / "blue" / "of-red.png")
    again, other = run(tmp_path)
    assert other != kept
    assert again.facts["batches"] != first.facts["batches"]
    assert again.status == first.status == "finished"
