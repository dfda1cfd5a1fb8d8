"""The mirror, against a real MLflow store."""

import pytest
from mlflow import MlflowClient

from dyt_bench.cell import Cell, Norm, Task
from dyt_bench.errors import UserError
from dyt_bench.record import Record, Result
from dyt_bench.tracking import IDENTITY_TAG, Tracker

CELL = Cell(
    task=Task(
        domain="vision",
        model="vit",
        dataset="digits",
        steps=40,
        batch_size=1,
        learning_rate=1e-3,
        val_every=20,
        data_digest="abc",
    ),
    norm=Norm(name="dyt"),
)
RESULT = Result(
    status="finished",
    started=1000.0,
    ended=1010.0,
    first={"step": 0.0, "val/loss": 3.0},
    best={"step": 40.0, "val/loss": 1.0},
    last={"step": 40.0, "val/loss": 1.0},
    summary={"time/step_ms_median": 12.0},
    facts={"weights": "w"},
    alpha={"blocks.0.norm": 0.6},
)


@pytest.fixture
def record(tmp_path):
    record = Record(tmp_path / "cell")
    record.begin(CELL, {"cpu": "abacus", "commit": "none"})
    for step in range(1, 41):
        record.append(step, {"train/loss": 3 - step / 20})
    return record


@pytest.fixture
def mirror(tmp_path):
    """Mirror records in one session; returns the runs of the store afterwards."""

    def mirrored(*records):
        uri = f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}"
        tracker = Tracker(uri, "dyt-bench/test", tmp_path / "artifacts")
        tracker.connect()
        for record in records:
            tracker.follow(record)
        tracker.close()
        assert tracker.problem is None
        client = MlflowClient(tracking_uri=uri)
        return client, client.search_runs([tracker.experiment_id])

    return mirrored


def test_a_finished_record_becomes_a_finished_run(record, mirror):
    record.log_path.write_text("a line\n")
    record.finish(RESULT)
    client, (run,) = mirror(record)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == CELL.label
    assert run.data.params["norm"] == "dyt"
    assert run.data.tags[IDENTITY_TAG] == CELL.identity
    assert run.data.tags["arm"] == "vision/vit dyt"
    assert run.data.metrics["alpha/blocks.0.norm"] == 0.6
    assert run.data.metrics["best/val/loss"] == 1.0
    assert run.inputs.dataset_inputs[0].dataset.digest == "abc"
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [
        (step, 3 - step / 20) for step in range(1, 41)
    ]
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["log.txt"]


def test_sending_again_adds_nothing(record, mirror):
    record.finish(RESULT)
    mirror(record)
    client, (run,) = mirror(record, record)
    assert len(client.get_metric_history(run.info.run_id, "train/loss")) == 40


def test_a_cell_run_again_is_a_run_of_its_own(record, mirror):
    record.finish(RESULT)
    mirror(record)
    record.begin(CELL, {"cpu": "abacus", "commit": "none"})
    record.append(1, {"train/loss": 9.0})
    record.finish(RESULT)
    client, runs = mirror(record)
    lengths = [len(client.get_metric_history(r.info.run_id, "train/loss")) for r in runs]
    assert sorted(lengths) == [1, 40]
    assert {r.info.status for r in runs} == {"FINISHED"}


def test_a_record_cut_off_is_killed_and_may_go_on_later(record, mirror):
    _, (run,) = mirror(record)
    assert run.info.status == "KILLED"
    record.append(41, {"train/loss": 0.5})
    record.finish(RESULT)
    client, (again,) = mirror(record)
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "FINISHED")
    assert len(client.get_metric_history(run.info.run_id, "train/loss")) == 41


def test_a_diverged_record_says_so(record, mirror):
    record.finish(Result(status="diverged", reason="at step 3", started=1.0, ended=2.0))
    _, (run,) = mirror(record)
    assert run.info.status == "FAILED"
    assert run.data.tags["dyt_bench.status"] == "diverged"
    assert run.data.tags["dyt_bench.reason"] == "at step 3"


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "ftp://nowhere"])
def test_a_store_that_is_not_there_is_one_sentence(uri, tmp_path):
    with pytest.raises(UserError, match=f"no MLflow store answers at {uri}") as caught:
        Tracker(uri, "e", tmp_path).connect()
    assert "\n" not in str(caught.value)
