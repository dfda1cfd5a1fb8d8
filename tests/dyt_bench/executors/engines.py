"""What the tests of Ray and of SLURM share: a small suite, and what it comes to without them."""

import re
import subprocess
import sys
import time

from dyt_bench.records.record import Record

SUITE = """
name: engines
variants: [native, dyt]
tasks:
  - {domain: vision, models: [vit], steps: 80, val_every: 40}
"""
# Of a row or a result, what a machine decides.
_OF_THE_MACHINE = re.compile(r"time|memory/|system/|throughput")


def command(suite, workspace, *more):
    arguments = ["run", str(suite), "--workspace", str(workspace), "--threads", "1", *more]
    return [sys.executable, "-m", "dyt_bench", *arguments]


def run_locally(suite, workspace):
    subprocess.run(command(suite, workspace, "--jobs", "1"), check=True, capture_output=True)
    return results(workspace / "runs")


def results(runs):
    """Record -> its rows and its result, without what the machine decides."""
    found = {}
    for record in records(runs):
        result = record.result()
        rows = [_of_the_run(row) for row in record.rows()]
        found[record.folder.name] = (result.status, rows, _of_the_run(result.last), result.alpha)
    return found


def records(runs):
    return [Record(folder) for folder in sorted(runs.iterdir()) if (folder / "run.json").exists()]


def _of_the_run(values):
    return {name: value for name, value in values.items() if not _OF_THE_MACHINE.search(name)}


def wait_for(found, process, seconds=400):
    """What the function finds, once it finds something; the process must not end before."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


def in_the_middle(runs):
    """The records that train, and have a checkpoint."""
    return [
        folder
        for folder in (runs.iterdir() if runs.is_dir() else ())
        if (folder / "checkpoint").exists()
        and (folder / "rows.jsonl").read_bytes().count(b"\n") > 3
        and not (folder / "result.json").exists()
    ]
