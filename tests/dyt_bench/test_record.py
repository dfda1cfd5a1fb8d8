"""The record: rows as they come, the result whole or not at all."""

import pytest

from dyt_bench.cell import Cell, Task
from dyt_bench.record import Record, Result

CELL = Cell(
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
    record = Record(tmp_path / "cell")
    record.begin(CELL, {"cpu": "abacus"})
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
    record.begin(CELL, {})
    assert record.rows() == []
    assert record.about()["identity"] == CELL.identity
