"""PostgreSQL as the store of several writers: a real server, started here."""

import os
import pwd
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from dyt_bench.discovery.domains import discover
from dyt_bench.report.group import write_group
from dyt_bench.tracking import Tracker
from dyt_bench.tracking.sync import sync_suites

from .conftest import STEPS, a_run, curves, free_port, result, runs_of, train

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def as_user(*command):
    """Run a command as nobody if this is root, as PostgreSQL refuses to run as root."""
    if os.geteuid() == 0:
        command = ("runuser", "-u", "nobody", "--", *command)
    subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=120)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """The address of an empty database, on 127.0.0.1 only."""
    if not PROGRAMS:
        pytest.skip("needs PostgreSQL's server: apt-get install postgresql")
    pytest.importorskip("psycopg", reason="needs the driver: pip install 'dyt-bench[postgres]'")
    programs = PROGRAMS[-1].parent
    # Paths of sockets must be short, and the user nobody must have access to the folder.
    folder = Path(f"/tmp/dyt-bench-postgres-{os.getpid()}")
    folder.mkdir()
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    data, port = folder / "data", free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    try:
        as_user(str(programs / "initdb"), "-D", str(data), "-U", "mlflow", "-A", "trust")
        start = (str(programs / "pg_ctl"), "-D", str(data), "-w", "-o", options)
        as_user(*start, "-l", str(folder / "log"), "start")
        yield f"postgresql://mlflow@127.0.0.1:{port}/postgres"
    finally:
        if (data / "postmaster.pid").exists():
            as_user(str(programs / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder)


def test_postgres_takes_what_two_writers_send_at_once(postgres, suite, workspace, begin):
    runs = [a_run(variant, seed=9) for variant in ("native", "dyt")]
    records = [begin(run) for run in runs]

    def write(record, run):
        tracker = Tracker(postgres, "dyt-bench/made-up", workspace)
        tracker.connect()
        tracker.follow(record)
        if record.result() is None:
            train(record)
            record.finish(result(run))
        tracker.close(patience_s=300)
        assert tracker.problem is None

    # The first creates the tables; MLflow cannot do that twice at once.
    write(records[0], runs[0])
    writers = [
        threading.Thread(target=write, args=pair)
        for pair in [(records[1], runs[1]), (suite[0], a_run("native"))]
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert len(runs_of(postgres)) == 3
    (synced,) = sync_suites([], workspace, postgres, discover().metric, write_group)
    assert (synced.runs, synced.new) == (4, 3)
    for run in runs_of(postgres):
        assert len(curves(postgres, run)["train/loss"]) == STEPS
    assert len(runs_of(postgres, "summary")) == 2
