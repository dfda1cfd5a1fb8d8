"""However a command is ended, its status says how, and the same command continues."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dyt_bench.cli import suites
from dyt_bench.records.record import Record
from dyt_bench.records.workspace import Workspace
from dyt_bench.scheduling import session

from ..instant import InstantExecutor, NoTracker

pytestmark = pytest.mark.slow

SUITE = """\
name: s
steps: 4
seeds: [0, 1]
executor: instant
tasks:
- {domain: tiny, models: [line], variants: [native, dyt]}
"""
SIGNALS = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "pre-empted")}


@pytest.fixture(autouse=True)
def suite(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(SUITE)


def signalled(monkeypatch, owner, name, number, *, call=1):
    """Send this process a signal as the function is called for that time."""
    function, calls = getattr(owner, name), []

    def sends(*arguments, **options):
        calls.append(name)
        if len(calls) == call:
            os.kill(os.getpid(), number)
        return function(*arguments, **options)

    monkeypatch.setattr(owner, name, sends)


MOMENTS = {
    "plug-ins are looked for": (suites, "discover"),
    "the workspace is made": (Workspace, "create"),
    "MLflow starts": (NoTracker, "connect"),
    "a record begins": (Record, "begin"),
    "a run is on its way": (InstantExecutor, "run"),
    "a result is written": (Record, "finish"),
    "the report is written": (session, "write_report"),
    "MLflow ends": (NoTracker, "close"),
}


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_at_any_moment_gives_its_status(instant, undrawn, monkeypatch, moment, number):
    with monkeypatch.context() as patched:
        signalled(patched, *MOMENTS[moment], number)
        ended = instant("run", "s.yaml")
    status, word = SIGNALS[number]
    assert ended.exit_code == status, ended.output
    assert word in ended.stderr
    assert "Traceback" not in ended.output
    again = instant("run", "s.yaml", "--json")
    assert again.exit_code == 0, again.output
    assert {run["status"] for run in json.loads(again.stdout)["runs"]} == {"finished"}


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", ["plan", "report"])
def test_the_other_commands_end_alike(instant, monkeypatch, command, number):
    signalled(monkeypatch, suites, "discover", number)
    ended = instant(command, "s.yaml")
    assert ended.exit_code == SIGNALS[number][0], ended.output
    assert "Traceback" not in ended.output


EARLY = """\
import os, sys
from importlib import abc
from dyt_bench import __main__

class Finder(abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "dyt_bench.cli.suites":
            os.kill(os.getpid(), int(sys.argv.pop()))

sys.meta_path.insert(0, Finder())
__main__.run()
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_modules_are_imported_gives_its_status(number):
    command = [sys.executable, "-c", EARLY, "domains", str(int(number))]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (SIGNALS[number][0], "", "")


def started(space):
    return {path.name: Record(path).about()["started"] for path in space.runs.iterdir()}


@pytest.mark.parametrize("number", SIGNALS)
def test_fresh_continues_after_a_preemption_and_not_after_ctrl_c(
    instant, undrawn, monkeypatch, number
):
    space = Workspace(Path(".dyt-bench"))
    assert instant("run", "s.yaml").exit_code == 0
    old = started(space)
    with monkeypatch.context() as patched:
        signalled(patched, InstantExecutor, "run", number, call=3)  # after two runs
        assert instant("run", "s.yaml", "--fresh").exit_code == SIGNALS[number][0]
    begun = started(space)
    done = {name for name in old if begun[name] != old[name] and Record(space.runs / name).result()}
    assert len(done) == 2
    again = instant("run", "s.yaml", "--fresh")
    assert again.exit_code == 0
    new = started(space)
    assert all(new[name] != old[name] for name in old)  # every one was repeated, once
    continues = number == signal.SIGTERM
    assert all((new[name] == begun[name]) == continues for name in done)
    assert again.stderr.count("done before") == 2 * continues
    InstantExecutor.trained.clear()
    assert instant("run", "s.yaml", "--fresh").exit_code == 0
    assert len(InstantExecutor.trained) == 4  # that one is over: this is another


def test_a_budget_bounds_a_run_and_what_ended_is_reported(instant, undrawn, monkeypatch):
    """The clock stands still but for the alarm, which rings while the third run runs."""
    signalled(monkeypatch, InstantExecutor, "run", signal.SIGALRM, call=3)
    with monkeypatch.context() as patched:
        patched.setattr(suites, "_within", lambda suite, space, budget: suite)
        ended = instant("run", "s.yaml", "--budget", "1h", "--json")
    assert ended.exit_code == 0, ended.output
    said = json.loads(ended.stdout)
    assert (said["stopped"], len(said["runs"])) == ("budget", 2)
    assert "the budget is spent with 2 of 4 runs done; the same command continues" in ended.stderr
    assert Path(".dyt-bench/results/s/README.md").exists()
    assert instant("run", "s.yaml").stderr.count("done before") == 2


def test_a_budget_that_is_spent_before_the_first_run_starts_none(instant, undrawn, monkeypatch):
    monkeypatch.setattr(suites, "_within", lambda suite, space, budget: suite)
    monkeypatch.setattr(session.time, "monotonic", Clock())
    ended = instant("run", "s.yaml", "--budget", "1s", "--until", "decided")
    assert ended.exit_code == 0, ended.output
    assert "the budget is spent with 0 of 4 runs done" in ended.stderr
    assert InstantExecutor.trained == []


class Clock:
    """An hour passes between two looks."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 3600.0
        return self.now


DEEP = """\
import pathlib, sys
from tests.dyt_bench.scheduling.test_ends import shared
from dyt_bench.executors.local import LocalExecutor

if __name__ == "__main__":
    with LocalExecutor([]).run(shared, pathlib.Path("log")) as running:
        *_, last = running
    print(last["value"])
"""


def shared(emit):
    """What a loader's workers do: pass a file descriptor over a socket."""
    from multiprocessing import Pipe, reduction

    _ours, theirs = Pipe()
    reduction.ForkingPickler.dumps(theirs)  # starts the server of descriptors, which has a socket
    return "it ran"


def test_a_folder_for_temporary_files_may_have_a_long_name(tmp_path):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    Path("job.py").write_text(DEEP)
    root = str(Path(__file__).parents[3])
    path = os.pathsep.join(
        [root, str(Path(root, "tests", "plugins")), os.environ.get("PYTHONPATH", "")]
    )
    ended = subprocess.run(
        [sys.executable, "job.py"],
        env={**os.environ, "TMPDIR": str(deep), "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert ended.stdout == "it ran\n", ended.stderr
