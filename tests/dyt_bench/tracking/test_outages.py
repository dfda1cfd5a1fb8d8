"""A whole suite during which MLflow's own server is killed and restarted three times."""

import os
import signal
import subprocess
import sys
import time

import pytest

from dyt_bench.records.workspace import Workspace
from dyt_bench.tracking.address import outage

from .conftest import curves, free_port, runs_of

SUITE = """
name: made-up
variants: [native, dyt]
seeds: [0, 1, 2]
steps: 1200
tasks:
- {domain: vision, models: [convnext], batch_size: 32}
"""


class Process:
    """MLflow's server, in a process group of its own."""

    def __init__(self, uri, folder):
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
        self.command += ["--artifacts-destination", (folder / "served").as_uri()]
        self.command += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        self.process = None

    def start(self):
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self.process = subprocess.Popen(
            self.command,
            env=environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: outage(self.uri) is None)

    def kill(self):
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture
def mlflow_server(uri, tmp_path):
    server = Process(uri, tmp_path)
    server.start()
    yield server
    server.kill()


def wait_for(condition, seconds=600):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.3)


@pytest.mark.slow
def test_a_suite_misses_no_metric_though_the_server_dies_three_times(uri, mlflow_server, tmp_path):
    (tmp_path / "suite.yaml").write_text(SUITE)
    command = [sys.executable, "-m", "dyt_bench", "run", "suite.yaml"]
    runs = tmp_path / ".dyt-bench" / "runs"

    def written():
        return sum(len(p.read_bytes().splitlines()) for p in runs.glob("*/rows.jsonl"))

    def sent():
        return sum(len(curves(uri, run).get("train/loss", [])) for run in runs_of(uri))

    with subprocess.Popen(
        [*command, "--tracking-uri", mlflow_server.uri],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as suite:
        for _ in range(3):
            before = sent()
            wait_for(lambda before=before: sent() > before or suite.poll() is not None)
            mlflow_server.kill()
            before = written()
            wait_for(lambda before=before: written() > before or suite.poll() is not None)
            mlflow_server.start()
            assert suite.poll() is None, "the suite was over before the third kill"
        _, said = suite.communicate(timeout=1200)
    assert suite.returncode == 0, said
    assert "MLflow did not take everything" not in said
    compare(uri, Workspace(tmp_path / ".dyt-bench"), runs)


def compare(uri, workspace, folder):
    """Every point of every row is in MLflow, once, in a run that is over."""
    from dyt_bench.records.record import Record
    from dyt_bench.tracking.mirror import in_sections

    runs = {run.data.tags["dyt_bench.run"]: run for run in runs_of(uri)}
    records = [Record(path) for path in folder.iterdir()]
    assert len(runs) == len(runs_of(uri)) == len(records) == 6
    for record in records:
        run = runs[record.about()["identity"]]
        assert run.info.status == "FINISHED"
        there = curves(uri, run)
        rows = [in_sections(row) for row in record.rows()]
        for name in {name for row in rows for name in row} - {"step", "time"}:
            expected = [(int(row["step"]), row[name]) for row in rows if name in row]
            assert there[name] == expected, name
    assert len(runs_of(uri, "summary")) == 2
