"""The executor: whatever a job does, the parent hears of it and lives."""

import os
import signal
import sys
import time
from functools import partial

import pytest

from dyt_bench.executors.local import JobFailed, LocalExecutor


def echo(value, tell):
    print("printed")
    tell({"event": "news", "value": value})
    return value * 2


def fail(how, tell):
    how()


def wait(tell):
    tell({"event": "pid", "value": os.getpid()})
    time.sleep(60)


def raise_error():
    raise RuntimeError("out of luck")


@pytest.fixture(scope="module")
def executor():
    return LocalExecutor([])


def test_news_outcome_and_output_come_back(executor, tmp_path):
    events = [event for event in executor.run(partial(echo, 21), tmp_path / "log") if event]
    assert events == [{"event": "news", "value": 21}, {"event": "outcome", "value": 42}]
    assert (tmp_path / "log").read_text() == "printed\n"


@pytest.mark.parametrize(
    ("how", "reason", "in_log"),
    [
        (raise_error, "RuntimeError: out of luck", "Traceback"),
        (partial(sys.exit, "bye"), "SystemExit: bye", "Traceback"),
        (partial(os._exit, 3), "ended with exit status 3", ""),
        (partial(os.abort), "ended by SIGABRT", ""),
        (partial(signal.raise_signal, signal.SIGKILL), "SIGKILL; the machine may be out of", ""),
    ],
)
def test_a_job_that_dies_is_reported(executor, tmp_path, how, reason, in_log):
    with pytest.raises(JobFailed, match=reason):
        list(executor.run(partial(fail, how), tmp_path / "log"))
    assert in_log in (tmp_path / "log").read_text()


def test_a_caller_that_stops_ends_the_process(executor, tmp_path):
    events = executor.run(wait, tmp_path / "log", poll_s=0.1)
    pid = next(event for event in events if event)["value"]
    events.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_quiet_jobs_yield_none_so_that_the_caller_can_look_around(executor, tmp_path):
    events = executor.run(wait, tmp_path / "log", poll_s=0.01)
    while next(events) is not None:
        pass
    assert next(events) is None
    events.close()
