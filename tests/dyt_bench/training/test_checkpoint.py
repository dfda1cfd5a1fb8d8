"""Wherever a run is cut off, resuming it gives the bits of the run that was not."""

import signal
from dataclasses import replace

import pytest

from dyt_bench.executors.contract import JobStopped
from dyt_bench.plugin.task import Run, Task, Variant
from dyt_bench.records.record import Record
from dyt_bench.scheduling.jobs import train_run
from dyt_tiny import domain
from dyt_tiny.module import Foreign

# Twelve steps over epochs of five batches, validated every four.
TASK = Task(
    domain="tiny",
    model="line",
    dataset="noise",
    steps=12,
    batch_size=8,
    learning_rate=1e-2,
    val_every=4,
)


class Cut(Exception):
    """The process is gone."""


@pytest.fixture
def train(tmp_path, tiny):
    def ran(run, name, cut_at=None):
        """A record of the run; cut off at its row number ``cut_at``, then resumed."""
        record = Record(tmp_path / name)
        record.begin(run, {})

        def tell(event):
            if Record(record.folder).rows()[cut_at - 1 :]:
                raise Cut

        if cut_at is not None:
            with pytest.raises(Cut):
                train_run(run, record, tell, checkpoint_every_s=0)
            record = Record(record.folder)
        return record, train_run(run, record, lambda event: None, checkpoint_every_s=0)

    return ran


def metrics(rows):
    """All that does not depend on the clock."""
    return [
        {name: value for name, value in row.items() if not name.startswith("time")} for row in rows
    ]


def assert_same(one, other):
    (record, result), (other_record, other_result) = one, other
    assert metrics(record.rows()) == metrics(other_record.rows())
    for part in ("first", "best", "last", "alpha", "saturation"):
        assert metrics([getattr(result, part)]) == metrics([getattr(other_result, part)])
    for fact in ("weights", "batches"):
        assert result.facts[fact] == other_result.facts[fact]


def test_cut_off_at_any_row_it_ends_the_same(train):
    # The preset with the most to remember: averaged weights, and all that the others have.
    run = Run(task=replace(TASK, training="ema"), variant=Variant(name="dyt"))
    whole = train(run, "whole")
    rows = len(whole[0].rows())
    assert rows == 16  # validations at 0, 4, 8 and 12, and twelve steps
    for row in range(2, rows):
        cut = train(run, f"cut{row}", cut_at=row)
        assert_same(whole, cut)
        # A checkpoint is taken when the next batch is asked for: of the step before the last.
        steps = sum("train/loss" in each for each in whole[0].rows()[:row])
        assert cut[1].facts.get("resumed", "0") == str(steps - 1)


def test_a_loader_of_a_plugins_own_is_resumed_as_well(train, monkeypatch):
    monkeypatch.setattr(type(domain), "build_data", lambda self, task: Foreign(task))
    whole = train(Run(task=TASK), "whole")
    for row in (6, 9):  # right after a validation; in the second epoch
        assert_same(whole, train(Run(task=TASK), f"cut{row}", cut_at=row))


def test_a_preset_without_averaged_weights_is_resumed_as_well(train):
    whole = train(Run(task=TASK), "whole")
    assert_same(whole, train(Run(task=TASK), "cut", cut_at=8))


def test_a_checkpoint_that_cannot_be_read_means_to_start_anew(train, tmp_path, capsys):
    run = Run(task=TASK)
    record, result = train(run, "run")
    rows = record.rows()
    record.checkpoint_path.write_bytes(b"no checkpoint")
    again = train_run(run, Record(record.folder), lambda event: None)
    assert "cannot be read, so training starts again from step 0" in capsys.readouterr().out
    assert record.rows() == rows
    assert_same((record, result), (record, again))


@pytest.mark.parametrize(("at_step", "resumed"), [(0, None), (4, "4"), (6, "6")])
def test_told_to_stop_it_saves_first(tiny, tmp_path, at_step, resumed):
    """Before training, in a validation, between two."""
    run = Run(task=TASK)
    record = Record(tmp_path / "run")
    record.begin(run, {})

    def tell(event):
        if event["step"] == at_step:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(JobStopped, match=f"did after step {at_step};"):
        train_run(run, record, tell)
    result = train_run(run, Record(record.folder), lambda event: None)
    assert result.facts.get("resumed") == resumed
    assert record.checkpoint_path.exists() == (resumed is not None)
