"""Serves MLflow's UI on this machine and opens the comparison of a suite in it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from typing import TYPE_CHECKING

import click

from dyt_bench.errors import UserError, quoted
from dyt_bench.records.workspace import Workspace
from dyt_bench.tracking.address import is_remote, is_served, outage, shown
from dyt_bench.tracking.links import OVERVIEW, address
from dyt_bench.tracking.relocate import follow
from dyt_bench.tracking.store import prepare
from dyt_bench.tracking.view import has_overview

if TYPE_CHECKING:
    from mlflow.entities import Experiment

HOST = "127.0.0.1"
PORT = 5000  # MLflow's default; if it is taken, and the user named none, any free one
PREFIX = "dyt-bench/"  # of our experiments' names
_START_S = 180.0  # MLflow takes ten to twenty seconds on two idle cores


def serve(
    workspace: Workspace,
    tracking_uri: str,
    suite: str | None,
    *,
    port: int | None,
    browser: bool,
    as_json: bool = False,
) -> None:
    """Start the server, open the comparison of the suite, and wait for Ctrl-C.

    Args:
        suite: its name; None for the last that ran.
        port: None for 5000, or a free one if that is taken.
        browser: whether to open a browser; never opened without a display.
        as_json: whether to print the address as JSON, and all else on stderr.

    Raises:
        UserError: the port is taken, the server does not start, or it has no such suite.
    """
    prepare()
    if is_served(tracking_uri):
        if (away := outage(tracking_uri)) is not None:
            raise UserError(f"no MLflow server answers at {shown(tracking_uri)} ({away})")
        page = _find(tracking_uri, tracking_uri, workspace, suite)
        _open(page, browser=browser, as_json=as_json)
        return
    if is_remote(tracking_uri) and (away := outage(tracking_uri)) is not None:
        raise UserError(f"no database answers at {shown(tracking_uri)} ({away}): start it")
    follow(workspace, tracking_uri)
    port = _free_port(port)
    url = f"http://{HOST}:{port}"
    server = _start(tracking_uri, port, workspace)
    try:
        click.echo("starting MLflow, this takes some seconds ...", err=as_json)
        # Found while the server starts: both take seconds.
        page = _find(url, tracking_uri, workspace, suite)
        _wait_until_healthy(server, url)
        _open(page, browser=browser, as_json=as_json)
        click.echo("Ctrl-C stops it.", err=as_json)
        server.wait()
    except KeyboardInterrupt:
        click.echo("stopped", err=as_json)
    finally:
        _end_group(server)


def _start(tracking_uri: str, port: int, workspace: Workspace) -> "subprocess.Popen[bytes]":
    environment = os.environ | {
        # The UI only shows runs; job workers would cost 2 GB and ten processes.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        # Not an argument: those of a process are seen by every user of the machine.
        "MLFLOW_BACKEND_STORE_URI": tracking_uri,
    }
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "dyt-bench"]
    # One worker starts fastest. Without a folder for artifacts MLflow would create one in the
    # current folder.
    command += ["--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--artifacts-destination", workspace.artifacts.as_uri()]
    # In a process group of its own, so that its workers can be ended with it.
    return subprocess.Popen(
        command,
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _free_port(port: int | None) -> int:
    """``port`` if the user named one, else 5000 or a free one.

    Raises:
        UserError: the named port is taken.
    """
    for candidate in (port or PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, candidate))
            except OSError:
                if port is not None:
                    raise UserError(f"port {port} is taken: name another with --port") from None
            else:
                return int(probe.getsockname()[1])
    raise AssertionError("the system has no free port")


def _wait_until_healthy(server: "subprocess.Popen[bytes]", url: str) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise UserError(
                f"MLflow's server ended with status {server.returncode}; try: "
                f"{' '.join(map(str, server.args))}"  # type: ignore[arg-type]
            )
        if outage(url) is None:
            return
        time.sleep(0.3)
    raise UserError(f"MLflow's server did not answer within {_START_S:.0f} s")


def _find(base: str, tracking_uri: str, workspace: Workspace, suite: str | None) -> str:
    """The address of the suite's comparison on a server at ``base``."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri)
    ours = {e.name: e for e in client.search_experiments() if e.name.startswith(PREFIX)}
    if suite is not None and PREFIX + suite not in ours:
        names = ", ".join(name.removeprefix(PREFIX) for name in ours)
        raise UserError(
            f"no suite called {quoted(suite)} is in {shown(tracking_uri)}: there are {names}"
        )
    if not ours:
        return f"{base.rstrip('/')}/#/experiments?workflowType=machine_learning"
    experiment = ours[PREFIX + suite] if suite is not None else _newest(ours, workspace)
    view = OVERVIEW if has_overview(experiment.tags) else None
    return address(base, experiment.experiment_id, view)


def _newest(ours: "dict[str, Experiment]", workspace: Workspace) -> "Experiment":
    """The experiment of the suite that this workspace ran last, else the latest changed one."""
    for name in reversed(workspace.suites_by_age()):
        if PREFIX + name in ours:
            return ours[PREFIX + name]
    return max(ours.values(), key=lambda experiment: experiment.last_update_time or 0)


def _open(page: str, *, browser: bool, as_json: bool) -> None:
    click.echo(json.dumps({"address": page}) if as_json else f"MLflow: {page}")
    # Without a display, webbrowser would start a text browser in this terminal.
    display = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if browser and display:
        webbrowser.open(page)


def _end_group(server: "subprocess.Popen[bytes]") -> None:
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
