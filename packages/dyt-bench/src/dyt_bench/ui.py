"""MLflow's own UI, served on this machine only, opened where the runs are."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import click

from dyt_bench.errors import UserError

HOST = "127.0.0.1"
_START_S = 90.0  # MLflow takes ten to twenty seconds on two cores


def serve(tracking_uri: str, port: int, experiment_prefix: str) -> None:
    """Start the server, print the address of the newest experiment, stay until Ctrl-C.

    Raises:
        UserError: the port is taken, or the server does not come up.
    """
    if tracking_uri.startswith("http"):
        click.echo(f"{tracking_uri} is a server already: open it in a browser")
        return
    _check_free(port)
    environment = os.environ | {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Runs are only looked at here; the job workers would cost 2 GB and ten processes.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking_uri]
    command += ["--host", HOST, "--port", str(port), "--workers", "1"]
    # A group of its own, so that its workers end with it.
    server = subprocess.Popen(
        command,
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        click.echo("starting MLflow, this takes some seconds ...")
        _wait_until_healthy(server, port)
        click.echo(f"MLflow: {_address(tracking_uri, port, experiment_prefix)}")
        click.echo("Ctrl-C stops it.")
        server.wait()
    except KeyboardInterrupt:
        click.echo("stopped")
    finally:
        _end_group(server)


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise UserError(f"port {port} is taken: name another with --port") from None


def _wait_until_healthy(server: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise UserError(
                f"MLflow's server ended with status {server.returncode}; try: "
                f"{' '.join(map(str, server.args))}"  # type: ignore[arg-type]
            )
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise UserError(f"MLflow's server did not answer within {_START_S:.0f} s")


def _address(tracking_uri: str, port: int, experiment_prefix: str) -> str:
    """The chart view of the newest experiment of ours, in the mode made for training runs."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri)
    ours = [e for e in client.search_experiments() if e.name.startswith(experiment_prefix)]
    base = f"http://{HOST}:{port}/#/experiments"
    if not ours:
        return f"{base}?workflowType=machine_learning"
    newest = max(ours, key=lambda experiment: experiment.last_update_time or 0)
    return f"{base}/{newest.experiment_id}/runs?workflowType=machine_learning&compareRunsMode=CHART"


def _end_group(server: "subprocess.Popen[bytes]") -> None:
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
