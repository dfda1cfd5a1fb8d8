"""Several jobs at once: how many run, what comes back, and how they end."""

import os
import threading
import time
from functools import partial

import pytest

from dyt_bench.errors import CannotWrite
from dyt_bench.executors import slots as shares
from dyt_bench.executors.contract import NO_LIMITS, JobFailed, Preempted
from dyt_bench.executors.slots import Slot, cores, in_slot, local_slots
from dyt_bench.scheduling.runner import slots_of
from dyt_bench.scheduling.slots import Slots


class Stub:
    """An executor whose jobs are functions of a list of events, in this process."""

    def __init__(self):
        self.open, self.most, self.left_by = 0, 0, []
        self._lock = threading.Lock()

    def run(self, job, log, limits):
        return StubJob(self, job)


class StubJob:
    def __init__(self, executor, job):
        self.executor, self.job = executor, job
        self.error = None

    def stop(self, error):
        self.error = error

    def __enter__(self):
        with self.executor._lock:
            self.executor.open += 1
            self.executor.most = max(self.executor.most, self.executor.open)
        return self

    def __exit__(self, kind, error, trace):
        with self.executor._lock:
            self.executor.open -= 1
            if kind:
                self.executor.left_by.append(kind)

    def __iter__(self):
        told = []
        outcome = self.job(told.append)
        yield from told
        if outcome == "hang":
            while self.error is None:
                time.sleep(0.001)
            raise self.error
        yield {"event": "outcome", "value": outcome}


def count(number, tell):
    tell({"event": "row", "step": number})
    return number


def refuse(error, tell):
    raise error


def hang(tell):
    return "hang"


def outcomes(jobs, executor, number):
    found, rows, waiting = {}, [], list(jobs.items())
    with Slots(executor, [Slot()] * number) as slots:
        while waiting or slots.is_busy:
            while waiting and slots.is_free():
                key, job = waiting.pop(0)
                slots.start(key, job, None, NO_LIMITS)
            key, event = slots.next_event()
            if isinstance(event, JobFailed):
                found[key] = str(event)
            elif event["event"] == "outcome":
                found[key] = event["value"]
            else:
                rows.append((key, event["step"]))
    return found, rows


@pytest.mark.parametrize("number", [1, 3])
def test_every_job_is_done_and_no_more_run_than_there_are_slots(number):
    executor = Stub()
    found, rows = outcomes({key: partial(count, key) for key in range(20)}, executor, number)
    assert found == {key: key for key in range(20)}
    assert sorted(rows) == [(key, key) for key in range(20)]
    assert 1 <= executor.most <= number
    assert executor.open == 0


def test_a_job_that_fails_ends_no_other():
    jobs = {"good": partial(count, 1), "bad": partial(refuse, JobFailed("it broke")), "more": hang}
    executor = Stub()
    with Slots(executor, [Slot()] * 3) as slots:
        for key, job in jobs.items():
            slots.start(key, job, None, NO_LIMITS)
        seen = [slots.next_event() for _ in range(3)]
        assert slots.is_busy
        last = {key: event for key, event in seen if not _is_row(event)}
        assert last["good"]["value"] == 1
        assert str(last["bad"]) == "it broke"
        assert slots.is_free()
        with pytest.raises(Preempted), slots:
            raise Preempted
    assert executor.left_by == [JobFailed, Preempted]


def _is_row(event):
    return isinstance(event, dict) and event["event"] == "row"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Preempted])
def test_who_is_interrupted_ends_all_jobs_in_the_same_way(kind):
    executor = Stub()
    slots = Slots(executor, [Slot()] * 2)
    slots.start("a", hang, None, NO_LIMITS)
    slots.start("b", hang, None, NO_LIMITS)
    with pytest.raises(kind), slots:
        raise kind
    assert executor.left_by == [kind, kind]
    assert executor.open == 0


def test_a_full_disk_reaches_the_caller(tmp_path):
    error = CannotWrite(tmp_path, OSError(28, "No space left on device"))
    slots = Slots(Stub(), [Slot()])
    slots.start("a", partial(refuse, error), None, NO_LIMITS)
    with pytest.raises(CannotWrite), slots:
        slots.next_event()


def test_a_machine_has_a_slot_for_each_core_or_gpu(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(shares, "_GPUS", tmp_path)
    monkeypatch.setattr(shares, "cores", lambda: 8)
    assert local_slots() == [Slot(1)] * 8
    assert local_slots(threads=3) == [Slot(3)] * 2
    assert local_slots(jobs=5, threads=2) == [Slot(2)] * 5
    (tmp_path / "0000:01").mkdir()
    (tmp_path / "0000:02").mkdir()
    assert local_slots() == [Slot(None, "0"), Slot(None, "1")]
    assert local_slots(jobs=3)[2] == Slot(None, "0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert local_slots() == [Slot(None, "3")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert local_slots() == [Slot(1)] * 8


def test_cores_are_those_that_this_process_may_use():
    assert 1 <= cores() <= len(os.sched_getaffinity(0))


def test_a_job_computes_with_what_its_slot_owns(monkeypatch):
    import torch

    before = torch.get_num_threads()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    seen = in_slot(
        Slot(before + 1, "1"),
        lambda tell: (torch.get_num_threads(), os.environ["CUDA_VISIBLE_DEVICES"]),
        print,
    )
    torch.set_num_threads(before)
    assert seen == (before + 1, "1")


def test_an_executor_without_slots_runs_one_job_unless_asked():
    assert slots_of(object(), None, None) == [Slot()]
    assert slots_of(object(), 3, 2) == [Slot(2)] * 3


def environment(tell):
    return os.environ["CUDA_VISIBLE_DEVICES"]


def test_a_job_of_several_devices_takes_as_many_slots(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with Slots(Stub(), [Slot(gpu=name) for name in "0123"]) as slots:
        slots.start("wide", environment, None, NO_LIMITS, 3)
        assert slots.is_free()
        assert not slots.is_free(2)
        assert slots.next_event()[1]["value"] == "0,1,2"
        assert slots.is_free(4)


def test_no_more_jobs_run_than_are_asked_for():
    with Slots(Stub(), [Slot()] * 4, most=1) as slots:
        slots.start("a", partial(count, 1), None, NO_LIMITS)
        assert not slots.is_free()
        assert [slots.next_event()[1]["event"] for _ in range(2)] == ["row", "outcome"]
        assert slots.is_free(4)
