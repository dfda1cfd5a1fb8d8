"""Events in a file: read as they come, whatever else is in it."""

import os
import pickle

import pytest

from dyt_bench.executors import spool
from dyt_bench.executors.contract import JobFailed
from dyt_bench.executors.spool import Reader, Writer
from dyt_bench.records.record import Result

RESULT = Result(status="finished", started=1.0, ended=2.0, last={"val/acc": 0.5})


def test_events_are_read_once_and_in_order(tmp_path):
    write, reader = Writer(tmp_path / "events"), Reader(tmp_path / "events")
    assert reader.read() == []
    write({"event": "resumed", "step": 3})
    assert reader.read() == [{"event": "resumed", "step": 3}]
    write({"event": "outcome", "value": RESULT})
    assert reader.read() == [{"event": "outcome", "value": RESULT}]
    assert reader.read() == []
    assert len(Reader(tmp_path / "events").read()) == 2


def test_an_error_comes_back(tmp_path):
    Writer(tmp_path / "events")({"event": "error", "error": JobFailed("out of luck")})
    (event,) = Reader(tmp_path / "events").read()
    assert str(event["error"]) == "out of luck"


def test_half_an_event_waits_for_the_rest(tmp_path):
    Writer(tmp_path / "whole")({"event": "outcome", "value": RESULT})
    content = (tmp_path / "whole").read_bytes()
    reader = Reader(tmp_path / "events")
    for cut in range(len(content)):
        (tmp_path / "events").write_bytes(content[:cut])
        assert reader.read() == []
    (tmp_path / "events").write_bytes(content)
    assert len(reader.read()) == 1


def test_rows_do_not_fill_it(tmp_path, monkeypatch):
    write = Writer(tmp_path / "events")
    for step in range(1000):
        write({"event": "row", "step": step, "metrics": {}})
    assert len(Reader(tmp_path / "events").read()) < 10


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize("value", [Evil(), spool.Writer, print])
def test_a_strangers_file_runs_nothing(tmp_path, value):
    Writer(tmp_path / "events")({"event": "outcome", "value": value})
    with pytest.raises(pickle.UnpicklingError, match="is no part of an event"):
        Reader(tmp_path / "events").read()
