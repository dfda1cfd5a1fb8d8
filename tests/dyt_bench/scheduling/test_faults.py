"""SIGKILLs at random moments of the smoke suite leave what an undisturbed run leaves."""

import json
import os
import random
import subprocess
import sys
import time

import psutil
import pytest
from mlflow import MlflowClient

from dyt_bench.records.record import Record
from dyt_bench.suite.shipped import shipped
from dyt_bench.tracking import IDENTITY_TAG

SMOKE = shipped()["smoke"]
CHANCE = random.Random(0)  # which process, and when
KILLS = int(os.environ.get("DYT_BENCH_KILLS", "30"))


def start(folder):
    """`dyt-bench run` of the smoke suite, with a checkpoint after each step."""
    command = [sys.executable, "-m", "dyt_bench", "run", SMOKE, "--checkpoint-every", "0"]
    output = (folder / "output").open("a")
    with output:
        return subprocess.Popen(
            [*command, "--json"], cwd=folder, stdout=subprocess.PIPE, stderr=output
        )


def records(folder):
    return {path.name: Record(path) for path in (folder / ".dyt-bench" / "runs").glob("*")}


def unfinished(folder, expected):
    """Whether there is a run that has not ended."""
    there = records(folder)
    return there.keys() != expected.keys() or any(r.result() is None for r in there.values())


def untimed(values):
    return {key: value for key, value in values.items() if not key.startswith(("time", "system/"))}


def numbers(record):
    """All that does not depend on the clock."""
    result = record.result()
    parts = [untimed(getattr(result, part)) for part in ("first", "best", "last", "alpha")]
    return result.status, result.facts["batches"], [untimed(row) for row in record.rows()], parts


def kill(process):
    """The run itself, or one of the processes it started, so that both are met."""
    family = [process, *process.children(recursive=True)]
    victim = CHANCE.choice(family)
    victim.kill()
    return victim is process


def ended_within(run, seconds):
    try:
        run.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


@pytest.mark.slow
def test_kills_change_nothing(tmp_path, record_testsuite_property):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    began = time.monotonic()
    with start(whole) as undisturbed:
        output = undisturbed.stdout.read()
    assert undisturbed.returncode == 0, (whole / "output").read_text()
    summary = json.loads(output)
    assert {run["status"] for run in summary["runs"]} == {"finished"}
    # Between two kills there is half of this on average: more than a start takes, and so little
    # that most of the kills come while there is still something to lose.
    within_s = (time.monotonic() - began) / 8

    expected = records(whole)
    left, losses = KILLS, 0
    while True:
        with start(killed) as run:
            process = psutil.Process(run.pid)
            while left and not ended_within(run, CHANCE.uniform(0, within_s)):
                left -= 1
                losses += unfinished(killed, expected)
                if kill(process):
                    break
            output = run.stdout.read()
        if not left and run.returncode == 0:
            break
    summary = json.loads(output)

    record_testsuite_property("kills before the last run had ended", losses)
    there = records(killed)
    assert there.keys() == expected.keys()
    for name, record in there.items():
        assert numbers(record) == numbers(expected[name]), name
    client = MlflowClient(tracking_uri=summary["tracking_uri"])
    runs = client.search_runs([summary["experiment_id"]])
    runs = [each for each in runs if IDENTITY_TAG in each.data.tags]
    assert len(runs) == len(there)
    assert {each.info.status for each in runs} == {"FINISHED"}
