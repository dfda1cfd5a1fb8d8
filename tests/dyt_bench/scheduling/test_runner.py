"""Whatever happens to its processes, a suite ends as if nothing had."""

import io
import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import replace
from multiprocessing import forkserver

import psutil
import pytest
from rich.console import Console

from dyt_bench.discovery.domains import discover
from dyt_bench.errors import CannotWrite, UserError
from dyt_bench.plugin.task import Run, Task, Variant
from dyt_bench.records.workspace import Workspace
from dyt_bench.scheduling.board import Board
from dyt_bench.scheduling.runner import How, Runner
from dyt_bench.suite.expand import Suite

TASK = Task(
    domain="tiny",
    model="line",
    dataset="noise",
    steps=12,
    batch_size=8,
    learning_rate=1e-2,
    val_every=4,
)


class NoTracker:
    def follow(self, record):
        pass


def suite_of(*models, variants=("native", "dyt"), steps=12, **limits):
    tasks = [replace(TASK, model=model, steps=steps) for model in models]
    runs = [Run(task=task, variant=Variant(name=name)) for task in tasks for name in variants]
    return Suite("s", "s", "training", tuple(runs), **limits)


def run(suite, folder, **how):
    """The results, and the records, of running ``suite`` with a checkpoint after each step."""
    workspace = Workspace(folder)
    board = Board(Console(file=io.StringIO()), suite.runs, {"tiny": "val/loss"})
    how = How(checkpoint_every_s=0, **how)
    runner = Runner(suite, workspace, NoTracker(), board, discover(), how)
    with workspace.opened():
        results = dict(runner.run())
    return [results[run] for run in suite.runs], [workspace.record(run) for run in suite.runs]


def numbers(records):
    """All of the records that does not depend on the clock."""
    return [
        (
            [_untimed(row) for row in record.rows()],
            *(_untimed(getattr(record.result(), part)) for part in ("first", "best", "last")),
            record.result().status,
            record.result().facts["batches"],
        )
        for record in records
    ]


def _untimed(values):
    return {key: value for key, value in values.items() if not key.startswith("time")}


def test_a_run_that_breaks_is_recorded_and_the_rest_goes_on(tiny, tmp_path):
    faults = {
        "raise": ("RuntimeError: out of luck", "said before"),
        "segfault": ("ended by SIGSEGV", "Segmentation fault"),
        "exit": ("SystemExit: a plugin has no business here", "Traceback"),
        "vanish": ("exit status 0, without a result", "without a result"),
        "killed": ("ended by SIGKILL", "out of memory"),
        "import": ("RuntimeError: this module is broken", "broken.py"),
    }
    results, records = run(suite_of(*faults, "line", variants=["dyt"]), tmp_path)
    assert [result.status for result in results] == ["failed"] * len(faults) + ["finished"]
    for result, record, (reason, in_log) in zip(results, records, faults.values(), strict=False):
        assert reason in result.reason
        assert in_log in record.log_path.read_text()
        assert record.result() == result


@pytest.mark.slow
def test_runs_side_by_side_end_as_one_after_another(tiny, tmp_path):
    suite = suite_of("line", "slow")
    _, alone = run(suite, tmp_path / "alone", jobs=1)
    _, beside = run(suite, tmp_path / "beside", jobs=3)
    assert numbers(beside) == numbers(alone)
    assert {record.result().facts["threads"] for record in beside} == {"1"}
    ratios = [record.result().summary["time/step_ratio"] for record in beside]
    assert ratios[0] == ratios[2] == 1.0


@pytest.mark.slow
def test_a_run_over_its_limits_is_ended(tiny, tmp_path):
    (hung,), _ = run(suite_of("hang", variants=["dyt"], run_timeout=15.0), tmp_path)
    assert "longer than its limit of 15 s" in hung.reason
    (greedy,), _ = run(suite_of("memory", variants=["dyt"], run_memory=3 * 2**29), tmp_path)
    assert "GiB of memory, over its limit of 1.50 GiB" in greedy.reason


def test_a_full_disk_stops_the_run_and_leaves_the_rows(tiny, tmp_path):
    with pytest.raises(CannotWrite, match=r"rows.jsonl: .*repeat the command, which resumes"):
        run(suite_of("fill", "line", variants=["dyt"]), tmp_path, jobs=1)
    workspace = Workspace(tmp_path)
    full, other = (workspace.record(run) for run in suite_of("fill", "line", variants=["dyt"]).runs)
    assert [row["step"] for row in full.rows() if "train/loss" in row][:3] == [1, 2, 3]
    assert full.rows_path.read_bytes().endswith(b"}\n")
    assert full.result() is None
    assert not other.begun


def processes_of_jobs():
    """Those that the fork server started, now."""
    server = psutil.Process(forkserver._forkserver._forkserver_pid)
    return server.children()


class Killer(threading.Thread):
    """Kills the running job at random moments, so many times."""

    def __init__(self, kills, within_s):
        super().__init__()
        self.left, self.within_s = kills, within_s

    def run(self):
        while self.left:
            time.sleep(random.uniform(0, self.within_s))
            for process in processes_of_jobs():
                process.kill()
                self.left -= 1


DRIVER = """
import sys
from pathlib import Path
from tests.dyt_bench.scheduling.test_runner import run, suite_of
run(suite_of("slow"), Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_the_same(tiny, tmp_path):
    suite = suite_of("slow")
    _, whole = run(suite, tmp_path / "whole")
    folder = tmp_path / "killed"
    # The process that plans is killed once training is on its way,
    parent = subprocess.Popen([sys.executable, "-c", DRIVER, folder], env=tiny)
    with parent:
        rows = Workspace(folder).record(suite.runs[0]).rows_path
        while not (rows.exists() and rows.stat().st_size):
            assert parent.poll() is None
            time.sleep(0.05)
        time.sleep(random.uniform(0, 0.5))
        parent.kill()
    # and then those that train.
    killer = Killer(kills=6, within_s=0.5)
    killer.start()
    while True:
        results, records = run(suite, folder)
        if all(result.status == "finished" for result in results):
            break
    killer.left = 0
    killer.join()
    assert numbers(records) == numbers(whole)
    assert not [record for record in records if record.checkpoint_path.exists()]


def test_the_second_run_in_a_workspace_says_so(tmp_path):
    first, second = Workspace(tmp_path), Workspace(tmp_path)
    with first.opened():
        with pytest.raises(UserError, match=f"another run, process {os.getpid()}"):
            second.opened().__enter__()
        assert (tmp_path / "running.json").exists()
    with second.opened():
        pass
