"""A job whose interpreter is stuck: it ends with its parent, and its silence is told."""

import contextlib
import ctypes
import io
import os
import subprocess
import sys
from multiprocessing import Pipe
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from dyt_bench.executors import running
from dyt_bench.executors.contract import NO_LIMITS
from dyt_bench.executors.running import JobProcess
from dyt_bench.plugin.task import Run, Task
from dyt_bench.scheduling.board import Board

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DRIVER = """\
import sys
from pathlib import Path
from multiprocessing import forkserver
from dyt_bench.executors.local import LocalExecutor
from tests.dyt_bench.test_heartbeat import be_stuck

if __name__ == "__main__":
    with LocalExecutor([]).run(be_stuck, Path("log")) as running:
        for event in running:
            print(event["value"], forkserver._forkserver._forkserver_pid, flush=True)
"""


def be_stuck(tell):
    """Hold the interpreter's lock in a call into C: no thread of Python runs any more."""
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    tell({"event": "pids", "value": f"{os.getpid()} {worker.pid}"})
    ctypes.PyDLL(None).sleep(600)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal is Linux's")
@pytest.mark.parametrize("victim", ["the scheduling process", "the fork server"])
def test_a_stuck_job_ends_with_its_parent(tmp_path, victim):
    (tmp_path / "driver.py").write_text(DRIVER)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    driver = subprocess.Popen(
        [sys.executable, "driver.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    with driver:
        job, worker, server = map(int, driver.stdout.readline().split())
        processes = [psutil.Process(pid) for pid in (job, worker)]
        (driver if victim == "the scheduling process" else psutil.Process(server)).kill()
        ended, _ = psutil.wait_procs(processes[:1], timeout=60)
        assert ended == processes[:1]
        if victim == "the scheduling process":  # the fork server ends what a job started
            _, left = psutil.wait_procs(processes, timeout=60)
            assert left == []
        driver.kill()
    with contextlib.suppress(psutil.Error):
        processes[1].kill()


class Silent:
    """A process that runs, until it is killed."""

    pid, exitcode = os.getpid(), None

    def __init__(self):
        self.sentinel, self.end = os.pipe()

    def is_alive(self):
        return False

    def join(self, timeout=None): ...
    def terminate(self): ...
    def kill(self): ...


@pytest.mark.parametrize("beats", [True, False], ids=["working", "stuck"])
def test_silence_is_told_with_whether_the_interpreter_works(tmp_path, monkeypatch, beats):
    """A clock that goes ten seconds with each look, and a heart that beats as often, or not."""
    receive, send = Pipe(duplex=False)
    clock = Clock()
    monkeypatch.setattr(running, "time", clock)
    monkeypatch.setattr(running, "_BEAT_S", 10.0)
    monkeypatch.setattr(running, "Group", NoGroup)

    def wait(connections, timeout):
        if beats:
            send.send({"event": "beat"})
        return []

    monkeypatch.setattr(running, "wait", wait)
    with JobProcess(lambda: (Silent(), receive), tmp_path / "log", NO_LIMITS) as job:
        events = iter(job)
        first, second = next(events), next(events)
    assert first["event"] == second["event"] == "quiet"
    assert first["alive"] == second["alive"] == beats
    assert first["seconds"] >= running._QUIET_S
    assert second["seconds"] >= 2 * running._QUIET_S


class Clock:
    now = 0.0

    def monotonic(self):
        self.now += 10.0
        return self.now


class NoGroup:
    members = ()

    def __init__(self, pid): ...
    def look(self): ...
    def kill(self): ...
    def memory(self, limit):
        return 0


def test_the_board_says_which_run_hangs_and_what_ends_it():
    task = Task(
        domain="d", model="m", dataset="x", steps=9, batch_size=1, learning_rate=1.0, val_every=9
    )
    run, said = Run(task=task), io.StringIO()
    board = Board(Console(file=said, width=200), [run], {"d": "val/loss"})
    board.start(run)
    board.quiet(run, 60.0, alive=True)
    assert "no step" not in said.getvalue()
    board.quiet(run, 600.0, alive=True)
    assert "d/m/x/s0 native: no step for 10:00 min; --run-timeout ends such runs" in said.getvalue()
    board.quiet(run, 660.0, alive=False)
    assert "no sign of life for 11:00 min: its process is stuck" in said.getvalue()
