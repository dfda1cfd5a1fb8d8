"""The tracker while runs run: with a store, and with servers that stop and start."""

import time
from dataclasses import replace

import pytest
from mlflow import MlflowClient
from mlflow.entities import RunStatus

from dyt_bench.errors import UserError
from dyt_bench.records.record import Result
from dyt_bench.tracking import Tracker
from dyt_bench.tracking.mirror import epochs
from dyt_bench.tracking.store import IDENTITY_TAG

from .conftest import STEPS, a_run, curves, result, runs_of, train

RUN = a_run("dyt")
TRAIN = [(step, 3 - step / 20) for step in range(1, STEPS + 1)]


@pytest.fixture
def record(begin):
    record = begin(RUN)
    train(record)
    return record


@pytest.fixture
def mirror(uri, workspace, impatient):
    """Mirror records in one session; returns the store's runs afterwards."""

    def mirrored(*records):
        tracker = Tracker(uri, "dyt-bench/made-up", workspace)
        tracker.connect()
        for record in records:
            tracker.follow(record)
        tracker.close()
        assert tracker.problem is None
        return runs_of(uri)

    return mirrored


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.02)


def test_a_finished_record_becomes_a_finished_run(uri, record, mirror):
    record.log_path.write_text("a line\n")
    (record.folder / "artifacts").mkdir()
    (record.folder / "artifacts" / "sample.png").write_bytes(b"picture")
    record.finish(result(RUN))
    (run,) = mirror(record)
    assert run.info.status == "FINISHED"
    assert run.info.end_time == 1_010_000 or run.info.end_time >= run.info.start_time
    assert run.info.run_name == RUN.label
    assert run.data.tags["variant"] == "dyt"
    assert "variant" not in run.data.params
    assert run.data.tags[IDENTITY_TAG] == RUN.identity
    assert run.data.metrics["within/alpha blocks.0.norm"] == 0.5
    assert run.data.tags["measured.best/val/acc"] == "0.4"
    assert run.data.tags["measured.memory/peak_mib"] == "300"
    assert "| val/acc | 0.1 | 0.4 | 0.4 |" in run.data.tags["mlflow.note.content"]
    assert run.inputs.dataset_inputs[0].dataset.digest == "abc"
    found = curves(uri, run)
    assert found["train/loss"] == TRAIN
    assert found["within/alpha by layer"] == [(i, 0.5 + i / 10) for i in range(4)]
    client = MlflowClient(uri)
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == [
        "artifacts",
        "log.txt",
        "packages.txt",
        "run.json",
    ]


def test_steps_are_told_as_epochs_where_the_training_set_is_finite(uri, record, mirror):
    record.finish(replace(result(RUN), summary={"data/samples": 11.0}))
    (run,) = mirror(record)
    assert curves(uri, run)["epoch"] == [(step, step / 11) for step in range(1, STEPS + 1)]


def test_an_epoch_is_as_many_full_batches_as_the_set_holds():
    rows = [{"step": 0, "time": 1.0, "val/acc": 0.1}, {"step": 3, "time": 2.0, "train/loss": 0.5}]
    of_ten = replace(result(RUN), summary={"data/samples": 10.0})
    assert epochs(rows, {"batch_size": 4}, of_ten) == [{"step": 3, "time": 2.0, "epoch": 1.5}]
    assert epochs(rows, {"batch_size": 4}, result(RUN)) == []


def test_sending_again_adds_nothing(uri, record, mirror):
    record.finish(result(RUN))
    mirror(record)
    (run,) = mirror(record, record)
    assert curves(uri, run)["train/loss"] == TRAIN


def test_a_run_run_again_is_a_run_of_its_own(uri, begin, record, mirror):
    record.finish(result(RUN))
    mirror(record)
    begin(RUN)
    record.append(1, {"train/loss": 9.0})
    record.finish(result(RUN))
    runs = mirror(record)
    assert sorted(len(curves(uri, run)["train/loss"]) for run in runs) == [1, 40]
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_a_record_cut_off_is_killed_and_resumed_in_its_run(uri, workspace, record, mirror):
    (cut,) = mirror(record)
    assert cut.info.status == "KILLED"
    assert cut.info.end_time == round(record.rows()[-1]["time"] * 1e3)

    tracker = Tracker(uri, "dyt-bench/made-up", workspace)
    tracker.connect()
    tracker.follow(record)
    wait_for(lambda: runs_of(uri)[0].info.status == "RUNNING")
    # A worker that resumes may write the rows after its checkpoint anew.
    train(record, first=STEPS - 1, last=STEPS + 1)
    record.finish(result(RUN))
    tracker.close()
    (again,) = runs_of(uri)
    assert (again.info.run_id, again.info.status) == (cut.info.run_id, "FINISHED")
    assert curves(uri, again)["train/loss"] == [*TRAIN, (STEPS + 1, 3 - (STEPS + 1) / 20)]


def test_what_was_left_running_is_killed_at_the_next_run(uri, begin, workspace, record, mirror):
    (run,) = mirror(record)
    client = MlflowClient(uri)
    client.update_run(run.info.run_id, status="RUNNING")  # as a SIGKILL leaves it
    foreign = client.create_run(run.info.experiment_id, tags=run.data.tags)
    client.set_tag(foreign.info.run_id, "dyt_bench.workspace", "another")
    client.set_tag(foreign.info.run_id, "dyt_bench.key", "another")
    other = begin(a_run("native"))
    other.finish(result(a_run("native")))
    states = {run.info.run_id: run.info for run in mirror(other)}
    assert states[run.info.run_id].status == "KILLED"
    last_point = client.get_metric_history(run.info.run_id, "train/loss")[-1].timestamp
    assert states[run.info.run_id].end_time >= last_point
    assert states[foreign.info.run_id].status == "RUNNING"


def test_a_diverged_record_says_so(record, mirror):
    record.finish(Result(status="diverged", reason="at step 3", started=1.0, ended=2.0))
    (run,) = mirror(record)
    assert run.info.status == "FAILED"
    assert run.data.tags["dyt_bench.status"] == "diverged"
    assert run.data.tags["dyt_bench.reason"] == "at step 3"


def test_names_that_mlflow_refuses_are_changed(record, mirror):
    record.append(1, {"val/acc@5 (%)": 1.0})
    record.finish(result(RUN))
    (run,) = mirror(record)
    assert run.data.metrics["val/acc_5 ___"] == 1.0


def test_a_run_whose_creation_was_not_answered_is_not_created_twice(
    uri, workspace, record, impatient, monkeypatch
):
    create_run = MlflowClient.create_run
    answers = iter([False, False, True])

    def unanswered(self, *arguments, **options):
        run = create_run(self, *arguments, **options)
        if not next(answers, True):
            raise ConnectionError("no answer")
        return run

    monkeypatch.setattr(MlflowClient, "create_run", unanswered)
    tracker = Tracker(uri, "dyt-bench/made-up", workspace)
    tracker.connect()
    tracker.follow(record)
    wait_for(lambda: runs_of(uri) and tracker.problem is None)
    record.finish(result(RUN))
    tracker.close()
    (run,) = runs_of(uri)
    assert curves(uri, run)["train/loss"] == TRAIN


def test_a_server_killed_three_times_misses_nothing(uri, server, workspace, begin, impatient):
    server.start()
    tracker = Tracker(server.uri, "dyt-bench/made-up", workspace)
    tracker.connect()
    record = begin(RUN)
    tracker.follow(record)
    for part in range(3):
        first = 1 + 12 * part
        train(record, first, first + 5)
        wait_for(lambda step=first + 5: last_step(uri) == step)
        server.kill()
        train(record, first + 6, first + 11)
        wait_for(lambda: tracker.problem is not None)
        server.start()
    train(record, 37, STEPS)
    record.finish(result(RUN))
    wait_for(lambda: tracker.problem is None)
    tracker.close()
    assert tracker.problem is None
    (run,) = runs_of(uri)
    assert run.info.status == "FINISHED"
    assert curves(uri, run)["train/loss"] == TRAIN


def last_step(uri):
    runs = runs_of(uri)
    return max(
        (step for run in runs for step, _ in curves(uri, run).get("train/loss", [])), default=0
    )


def test_a_frozen_server_delays_nothing(uri, server, workspace, begin, impatient):
    with server.frozen():
        started = time.monotonic()
        tracker = Tracker(server.uri, "dyt-bench/made-up", workspace)
        tracker.connect()
        assert tracker.problem is not None
        record = begin(RUN)
        tracker.follow(record)
        train(record)
        record.finish(result(RUN))
        tracker.close()
        # Some probes, each half a second here; the stock client would wait for 40 minutes.
        assert time.monotonic() - started < 10
        assert tracker.problem is not None
    assert runs_of(uri) == []


def test_a_server_that_comes_late_gets_everything(uri, server, workspace, begin, impatient):
    tracker = Tracker(server.uri, "dyt-bench/made-up", workspace)
    tracker.connect()
    assert "refused" in tracker.problem
    record = begin(RUN)
    tracker.follow(record)
    train(record)
    server.start()
    record.finish(result(RUN))
    wait_for(lambda: tracker.problem is None)
    tracker.close()
    (run,) = runs_of(uri)
    assert RunStatus.is_terminated(RunStatus.from_string(run.info.status))
    assert curves(uri, run)["train/loss"] == TRAIN


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("ftp://nowhere", "no MLflow store answers at ftp://nowhere"),
        ("sqlite:////dev/null/mlflow.db", "no MLflow store answers at sqlite:////dev/null"),
        ("http://127.0.0.1:notaport", "is not an address"),
    ],
)
def test_a_store_that_can_never_be_is_one_sentence(uri, message, workspace):
    with pytest.raises(UserError, match=message) as caught:
        Tracker(uri, "e", workspace).connect()
    assert "\n" not in str(caught.value)
