"""The record: rows as they come, the result whole or not at all."""

import resource

import pytest

from dyt_bench.errors import CannotWrite
from dyt_bench.plugin.task import Run, Task
from dyt_bench.records.record import Record, Result

RUN = Run(
    task=Task(
        domain="d",
        model="m",
        dataset="x",
        steps=2,
        batch_size=1,
        learning_rate=1.0,
        val_every=1,
    )
)


@pytest.fixture
def record(tmp_path):
    record = Record(tmp_path / "run")
    record.begin(RUN, {"cpu": "abacus"})
    return record


def test_rows_are_there_as_soon_as_they_are_appended(record):
    record.append(1, {"train/loss": 2.5})
    record.append(2, {"train/loss": 1.5, "time/step_ms": 3.0})
    assert [(row["step"], row["train/loss"]) for row in record.rows()] == [(1, 2.5), (2, 1.5)]


def test_a_half_written_row_is_left_out(record):
    record.append(1, {"train/loss": 2.5})
    with record.rows_path.open("a") as file:
        file.write('{"step": 2, "tra')
    assert len(record.rows()) == 1


def test_result_comes_back_as_it_was(record):
    assert record.result() is None
    result = Result(status="diverged", reason="why", started=1.0, ended=2.0, alpha={"n": 0.5})
    record.finish(result)
    assert record.result() == result
    assert not list(record.folder.glob("*.partial"))


def test_beginning_again_clears_what_was_cut_off(record):
    record.append(1, {"train/loss": 2.5})
    record.begin(RUN, {})
    assert record.rows() == []
    assert record.about()["identity"] == RUN.identity


def test_going_on_keeps_the_rows_and_writes_none_twice(record):
    for step in (1, 2, 3):
        record.append(step, {"train/loss": step + 0.5})
    with record.rows_path.open("a") as file:
        file.write('{"step": 4, "tra')
    kept = record.rows()
    later = Record(record.folder)
    assert later.resume(1)  # the checkpoint was taken after the first row
    for step in (2, 3, 4):
        later.append(step, {"train/loss": step + 0.5})
    assert later.rows()[:3] == kept
    assert [row["step"] for row in later.rows()] == [1, 2, 3, 4]


def test_a_checkpoint_from_after_the_last_row_is_of_no_use(record):
    record.append(1, {"train/loss": 2.5})
    assert not Record(record.folder).resume(2)


def test_a_disk_without_room_leaves_whole_rows_and_one_sentence(record):
    record.append(1, {"train/loss": 2.5})
    whole = record.rows_path.read_bytes()
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 9, unlimited[1]))
    try:
        with pytest.raises(CannotWrite, match=r"rows.jsonl: .*; what was written before is whole"):
            record.append(2, {"train/loss": 1.5})
        with pytest.raises(CannotWrite, match=r"result.json: "):
            record.finish(Result(status="failed", reason="x" * 99, started=1.0, ended=2.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert record.rows_path.read_bytes() == whole
    assert record.result() is None
    assert not list(record.folder.glob("*.partial"))
