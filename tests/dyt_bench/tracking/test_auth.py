"""MLflow's own server with its own accounts, behind TLS."""

import os
import subprocess
import sys
import time

import pytest
from mlflow import MlflowClient

from dyt_bench.errors import UserError
from dyt_bench.tracking import Tracker, address
from dyt_bench.tracking.store import prepare

from .conftest import a_run, curves, free_port, result, train

pytest.importorskip("flask_wtf", reason="MLflow's accounts need Flask-WTF")

EXPERIMENT = "dyt-bench/made-up"
ADMIN, PASSWORD = "admin", "correct-horse-battery"
START_S = 240.0  # its imports alone take a minute on a busy machine


@pytest.fixture
def laboratory(tmp_path, uri, certificates, monkeypatch):
    """``mlflow server --app-name basic-auth`` with a laboratory's certificate; its address."""
    prepare()
    for name in ("USERNAME", "PASSWORD", "TOKEN", "INSECURE_TLS"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(address, "PROBE_S", 10.0)
    settings = tmp_path / "accounts.ini"
    settings.write_text(
        "[mlflow]\ndefault_permission = READ\n"
        f"database_uri = sqlite:///{tmp_path / 'accounts.db'}\n"
        f"admin_username = {ADMIN}\nadmin_password = {PASSWORD}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    port = free_port()
    key, certificate = certificates / "key.pem", certificates / "server.pem"
    options = {
        "--app-name": "basic-auth",
        "--host": "127.0.0.1",
        "--port": str(port),
        "--workers": "1",
        "--backend-store-uri": uri,
        "--artifacts-destination": str(tmp_path / "served"),
        "--uvicorn-opts": f"--ssl-keyfile {key} --ssl-certfile {certificate}",
    }
    environment = os.environ | {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of this test",
    }
    log = tmp_path / "server.log"
    with log.open("w") as out:
        command = [sys.executable, "-m", "mlflow", "server"]
        command += [word for option in options.items() for word in option]
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        wait_for(process, f"https://127.0.0.1:{port}", log, certificates / "authority.pem")
        yield f"https://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(START_S)


def wait_for(process, uri, log, authority):
    import requests

    end = time.monotonic() + START_S
    while True:
        assert process.poll() is None, log.read_text()
        try:
            return requests.get(f"{uri}/health", verify=str(authority), timeout=30)
        except (requests.ConnectionError, requests.Timeout):
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)


def connected(uri, workspace):
    tracker = Tracker(uri, EXPERIMENT, workspace)
    tracker.connect()
    return tracker


def refused(uri, workspace):
    with pytest.raises(UserError) as error:
        connected(uri, workspace)
    assert PASSWORD not in str(error.value)
    return str(error.value)


def sign_in(monkeypatch, name, password):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)


@pytest.mark.slow
def test_accounts_and_certificates_of_mlflow_itself(
    laboratory, workspace, begin, monkeypatch, certificates
):
    assert "is not trusted" in refused(laboratory, workspace)
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificates / "authority.pem"))
    assert "status 401" in refused(laboratory, workspace)
    sign_in(monkeypatch, ADMIN, "wrong-horse-battery")
    assert "status 401" in refused(laboratory, workspace)

    sign_in(monkeypatch, ADMIN, PASSWORD)
    run = a_run("dyt")
    record = begin(run)
    train(record)
    record.finish(result(run))
    tracker = connected(laboratory, workspace)
    tracker.follow(record)
    tracker.close(60.0)
    assert tracker.problem is None
    client = MlflowClient(laboratory)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    (sent,) = client.search_runs([experiment.experiment_id], "tags.kind = 'run'")
    assert sent.info.status == "FINISHED"
    assert curves(laboratory, sent)["val/acc"] == [(20, 0.2), (40, 0.4)]
