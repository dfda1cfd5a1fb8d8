"""The executors: whatever a job does, the parent hears of it and lives."""

import contextlib
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import psutil
import pytest

from dyt_bench.errors import UserError
from dyt_bench.executors import memory
from dyt_bench.executors.command import CommandExecutor
from dyt_bench.executors.contract import JobFailed, JobStopped, Limits, Preempted
from dyt_bench.executors.group import Group
from dyt_bench.executors.local import LocalExecutor
from dyt_bench.plugin.task import Run, Task
from dyt_bench.records.record import Record

pytestmark = pytest.mark.slow


def echo(value, tell):
    print("printed")
    tell({"event": "news", "value": value})
    return value * 2


def fail(how, tell):
    print("said before")
    how()


def wait(tell):
    tell({"event": "pid", "value": os.getpid()})
    time.sleep(60)


def be_stubborn(tell):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wait(tell)


def save_first(folder, tell):
    """As training does: SIGTERM is noted, and obeyed a while later."""
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: asked.set())
    tell({"event": "pid", "value": os.getpid()})
    while not asked.is_set():
        tell({"event": "news", "value": "x" * 1000})
    (folder / "saved").touch()
    raise JobStopped("it was told to stop")


def leave_a_child(tell):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    tell({"event": "pid", "value": child.pid})
    os.kill(os.getpid(), signal.SIGKILL)


def touch_twice(tell):
    """Pages that the system had to give when the same block was written a second time."""
    import resource

    import numpy as np

    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        block = np.ones(6 << 20)  # 48 MiB: more than malloc keeps by default
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        del block
    return faults


def raise_error():
    raise RuntimeError("out of luck")


def segfault():
    import ctypes

    ctypes.string_at(0)


class Unreadable:
    """A job whose pickle cannot be read."""

    def __reduce__(self):
        return partial(int, "no number"), ()


class Wrapped(CommandExecutor):
    """A command that stays between: signals do not come through."""

    prefix = ("sh", "-c", '"$@"; exit $?', "sh")


# What the harness preloads: this process's other tests share the fork server.
@pytest.fixture(scope="module", params=[LocalExecutor, CommandExecutor])
def executor(request):
    return request.param(["dyt_bench.training.run"])


def ends(pid):
    """Whether the process is gone, or soon is: to be killed takes a moment."""
    for _ in range(300):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.1)
    return False


def test_news_outcome_and_output_come_back(executor, tmp_path):
    with executor.run(partial(echo, 21), tmp_path / "log") as running:
        events = list(running)
    assert events == [{"event": "news", "value": 21}, {"event": "outcome", "value": 42}]
    assert (tmp_path / "log").read_text() == "printed\n"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tells glibc's malloc")
def test_a_process_keeps_its_memory(executor, tmp_path):
    with executor.run(touch_twice, tmp_path / "log") as running:
        *_, outcome = running
    assert outcome["value"] < 500  # of 12,288 pages


def test_memory_as_the_user_has_it(monkeypatch):
    assert "trim_threshold" in memory.environment()["GLIBC_TUNABLES"]
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.mmap_max=3")
    assert memory.environment()["GLIBC_TUNABLES"].endswith(":glibc.malloc.mmap_max=3")


def test_starting_a_process_leaves_the_environment(executor, tmp_path):
    before = dict(os.environ)
    with executor.run(partial(echo, 1), tmp_path / "log") as running:
        list(running)
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("how", "reason", "in_log"),
    [
        (raise_error, "RuntimeError: out of luck", "Traceback"),
        (partial(sys.exit, "bye"), "SystemExit: bye", "Traceback"),
        (partial(os._exit, 3), "exit status 3, without a result", "exit status 3"),
        (partial(os._exit, 0), "exit status 0, without a result", "exit status 0"),
        (os.abort, "ended by SIGABRT", "Fatal Python error: Aborted"),
        (segfault, "ended by SIGSEGV", "Fatal Python error: Segmentation fault"),
        (
            partial(signal.raise_signal, signal.SIGKILL),
            "SIGKILL when it held .* GiB; the machine may be out of memory",
            "SIGKILL",
        ),
    ],
)
def test_a_job_that_dies_is_reported_and_its_log_says_why(executor, tmp_path, how, reason, in_log):
    running = executor.run(partial(fail, how), tmp_path / "log")
    with pytest.raises(JobFailed, match=reason), running:
        list(running)
    log = (tmp_path / "log").read_text()
    assert log.startswith("said before\n")
    assert in_log in log


def test_a_job_that_cannot_be_unpickled_fails_where_its_log_is(executor, tmp_path):
    running = executor.run(Unreadable(), tmp_path / "log")
    with pytest.raises(JobFailed, match="ValueError: invalid literal"), running:
        list(running)
    assert "Traceback" in (tmp_path / "log").read_text()


def test_a_job_over_its_time_is_ended_and_its_log_says_where_it_was(executor, tmp_path):
    running = executor.run(be_stubborn, tmp_path / "log", Limits(seconds=5))
    with pytest.raises(JobFailed, match="longer than its limit of 5 s"), running:
        list(running)
    assert " in be_stubborn\n" in (tmp_path / "log").read_text()


def test_a_job_over_its_memory_is_ended(executor, tmp_path):
    running = executor.run(wait, tmp_path / "log", Limits(memory=2**20))
    with pytest.raises(JobFailed, match="of memory, over its limit of"), running:
        list(running)


@pytest.mark.parametrize("job", [wait, be_stubborn])
def test_a_caller_that_leaves_ends_the_process(executor, tmp_path, job):
    with executor.run(job, tmp_path / "log") as running:
        pid = next(iter(running))["value"]
    assert ends(pid)


def test_who_leaves_pre_empted_gives_the_job_time_to_save(executor, tmp_path):
    running = executor.run(partial(save_first, tmp_path), tmp_path / "log")
    with contextlib.suppress(Preempted), running:
        next(iter(running))
        raise Preempted
    assert (tmp_path / "saved").exists()


def test_what_a_job_started_ends_with_it(executor, tmp_path):
    running = executor.run(leave_a_child, tmp_path / "log")
    pids = []
    with pytest.raises(JobFailed, match="SIGKILL"), running:
        pids.extend(event["value"] for event in running)
    assert ends(pids[0])


ORPHAN = """
import sys
from pathlib import Path
from tests.dyt_bench import test_executors as jobs
with jobs.{executor}([]).run(jobs.start_small_workers, Path(sys.argv[1])) as running:
    print(*next(iter(running))["value"], flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("name", ["LocalExecutor", "CommandExecutor"])
def test_a_job_whose_parent_is_killed_ends_with_its_workers(tmp_path, name):
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHAN.format(executor=name), tmp_path / "log"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(pids) == 3
    assert all(map(ends, pids))


CRASHING = """
import sys
from functools import partial
from pathlib import Path
from dyt_bench.executors.local import LocalExecutor
from tests.dyt_bench.test_executors import echo
for _ in range(2):
    with LocalExecutor(["crashes"]).run(partial(echo, 1), Path("log")) as running:
        print(list(running)[-1]["value"])
"""


@pytest.mark.parametrize("fault", ["raise SystemExit", "import os; os.abort()"])
def test_a_module_that_breaks_on_import_does_not_stop_the_others(tmp_path, fault):
    (tmp_path / "crashes.py").write_text(fault)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}"}
    run = subprocess.run(
        [sys.executable, "-c", CRASHING],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.stdout == "2\n2\n", run.stderr


def test_a_command_between_need_not_hand_signals_on(tmp_path):
    running = Wrapped([]).run(partial(save_first, tmp_path), tmp_path / "log")
    with contextlib.suppress(Preempted), running:
        next(iter(running))
        raise Preempted
    assert (tmp_path / "saved").exists()


def test_a_command_that_starts_nothing_fails_the_job(tmp_path):
    refusing = type("Refusing", (CommandExecutor,), {"prefix": ("false",)})
    running = refusing([]).run(partial(echo, 1), tmp_path / "log")
    with pytest.raises(JobFailed, match="exit status 1, without a result"), running:
        list(running)


def test_a_group_whose_process_had_ended_is_empty():
    ended = subprocess.Popen(["true"])
    ended.wait()
    group = Group(ended.pid)
    group.look()
    assert group.memory(None) == group.memory(1) == 0


def test_a_command_that_is_not_there_is_said_before_anything_runs():
    absent = type("Absent", (CommandExecutor,), {"prefix": ("no-such-command",)})
    with pytest.raises(UserError, match="executor Absent needs the command 'no-such-command'"):
        absent([])


def train_tiny(folder, workers, tell):
    from dyt_bench.scheduling.jobs import train_run
    from dyt_tiny import Tiny

    class Parallel(Tiny):
        def build_data(self, task):
            data = super().build_data(task)
            data.num_workers = workers  # as data sets of many files have them
            return data

    task = Task(
        domain="tiny",
        model="line",
        dataset="noise",
        steps=12,  # two epochs and more
        batch_size=8,
        learning_rate=1e-2,
        val_every=6,
    )
    run, record = Run(task=task), Record(folder)
    record.begin(run, {})
    result = train_run(run, record, tell, domain=Parallel(), trainer={"accelerator": "cpu"})
    return result.facts["batches"], result.last


def test_a_run_trains_with_loader_workers_as_it_does_without(executor, tmp_path):
    outcomes = []
    for workers in (0, 2):
        job = partial(train_tiny, tmp_path / f"run-{workers}", workers)
        with executor.run(job, tmp_path / "log") as running:
            *_, outcome = running
        outcomes.append(outcome["value"])
    assert outcomes[0] == outcomes[1]


def hold(size, ready):
    import numpy as np

    block = np.ones(size, dtype=np.uint8)
    ready.set()
    time.sleep(60 + block[0])


def start_workers(size, tell):
    """Two processes of ``size`` bytes each."""
    ready = [multiprocessing.Event() for _ in range(2)]
    workers = [multiprocessing.Process(target=hold, args=(size, event)) for event in ready]
    for worker in workers:
        worker.start()
    for event in ready:
        event.wait()
    tell({"event": "pids", "value": [*(worker.pid for worker in workers), os.getpid()]})
    time.sleep(60)


def start_small_workers(tell):
    start_workers(1, tell)


def start_a_daemon(tell):
    """A process that leaves the group, as daemons do."""
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    daemon = subprocess.Popen(sleep, start_new_session=True)
    tell({"event": "pids", "value": [daemon.pid, os.getpid()]})
    time.sleep(60)


def test_a_limit_of_memory_counts_all_processes_of_a_job(executor, tmp_path):
    """Twice 600 MiB and the libraries are over the limit, no process is by itself."""
    job = partial(start_workers, 600 << 20)
    pids = []
    said = r"it, with the \d processes that it started, used 1\.\d+ GiB of memory, over its limit"
    running = executor.run(job, tmp_path / "log", Limits(memory=1 << 30))
    with pytest.raises(JobFailed, match=said), running:
        pids.extend(pid for event in running for pid in event["value"])
    assert all(map(ends, pids))


def weigh(tell):
    """The memory of this process and a copy of it: by shares, and with what is shared in each."""
    import numpy as np

    from dyt_bench.executors.group import Group

    block = np.ones(600 << 20, dtype=np.uint8)
    context = multiprocessing.get_context("fork")
    done = context.Event()
    worker = context.Process(target=done.wait)
    worker.start()
    group = Group(os.getpid())
    weights = group.memory(block.size), group.memory(None)
    done.set()
    worker.join()
    return weights


def test_what_processes_share_counts_once_against_a_limit(executor, tmp_path):
    with executor.run(weigh, tmp_path / "log") as running:
        *_, outcome = running
    shared, each = outcome["value"]
    assert each > 1200 << 20
    assert 600 << 20 < shared < each - (500 << 20)


@pytest.mark.parametrize("job", [start_small_workers, start_a_daemon])
def test_who_leaves_ends_all_processes_of_a_job(executor, tmp_path, job):
    with executor.run(job, tmp_path / "log") as running:
        pids = next(iter(running))["value"]
    assert all(map(ends, pids))


def test_the_workers_of_a_job_that_is_killed_end(executor, tmp_path):
    with contextlib.suppress(JobFailed), executor.run(start_small_workers, tmp_path / "log") as run:
        for event in run:
            pids = event["value"]
            os.kill(pids[-1], signal.SIGKILL)
    assert all(map(ends, pids))
