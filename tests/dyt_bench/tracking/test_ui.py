"""MLflow's real UI: it answers on this machine only, and ends with the command."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from mlflow import MlflowClient

from dyt_bench.tracking import ui

pytestmark = pytest.mark.slow


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command(folder, port):
    arguments = ["-m", "dyt_bench", "ui", "--no-browser", "--port", str(port)]
    return [sys.executable, *arguments], {"cwd": folder}


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / ".dyt-bench").mkdir()
    client = MlflowClient(f"sqlite:///{tmp_path / '.dyt-bench' / 'mlflow.db'}")
    client.create_experiment("dyt-bench/test", (tmp_path / "artifacts").as_uri())
    return tmp_path


def test_the_ui_serves_the_runs_until_interrupted(workspace):
    port = free_port()
    arguments, options = command(workspace, port)
    server = subprocess.Popen(
        arguments, **options, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    address = next(found for line in server.stdout if (found := re.search(r"http\S+", line)))
    assert address[0].startswith(f"http://127.0.0.1:{port}/#/experiments/1/runs?")
    assert not (workspace / "mlruns").exists()
    assert "workflowType=machine_learning" in address[0]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
        assert "MLflow" in page.read().decode()
    os.killpg(server.pid, signal.SIGINT)
    assert "stopped" in server.communicate(timeout=30)[0]
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health")


def test_programs_get_the_address_as_json(workspace):
    port = free_port()
    arguments, options = command(workspace, port)
    server = subprocess.Popen(
        [*arguments, "--json"],
        **options,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    address = json.loads(server.stdout.readline())["address"]
    assert address.startswith(f"http://127.0.0.1:{port}/#/experiments/1/runs?")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
        # A browser without settings of its own opens pages for training.
        assert '"mlflow.workflowType_v1": "machine_learning"' in page.read().decode()
    os.killpg(server.pid, signal.SIGINT)
    said, told = server.communicate(timeout=30)
    assert said == ""
    assert told.endswith("stopped\n")


def test_a_taken_port_is_one_sentence(workspace):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        arguments, options = command(workspace, port)
        run = subprocess.run(arguments, **options, capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr == f"dyt-bench: port {port} is taken: name another with --port\n"


def test_another_port_is_taken_when_the_usual_one_is(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(ui, "PORT", taken.getsockname()[1])
        free = ui._free_port(None)
    assert free not in (0, ui.PORT)


def test_an_unknown_suite_is_one_sentence(workspace):
    arguments, options = command(workspace, free_port())
    run = subprocess.run([*arguments, "mine"], **options, capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr.startswith("dyt-bench: no suite called 'mine' is in sqlite://")
    assert run.stderr.count("\n") == 1
