"""Several workspaces and one store: told apart, in turns, copied, moved and merged."""

import base64
import json
import platform
import shutil
import zlib
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from dyt_bench.cli import main
from dyt_bench.discovery.domains import discover
from dyt_bench.records.merge import merge
from dyt_bench.records.workspace import Workspace
from dyt_bench.tracking import Tracker
from dyt_bench.tracking.sync import sync_suites

from .conftest import a_run, remember, result, runs_of, train

EXPERIMENT = "dyt-bench/made-up"


def draw_nothing(name, metric, runs, standings, folder):
    (folder / "figures").mkdir()
    (folder / "figures" / "drawn").touch()


def send(workspace, uri=None):
    uri = uri or workspace.tracking_uri
    return sync_suites([], workspace, uri, discover().metric, draw_nothing)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine's workspace with a suite that ran there: (name, seeds, model) -> workspace."""

    def made(name, seeds, model="vit"):
        monkeypatch.setattr(platform, "node", lambda: name)
        workspace = Workspace(tmp_path / name / "work")
        workspace.create()
        records = []
        for seed in seeds:
            for variant, value in (("native", 0.4), ("dyt", 0.6)):
                run = a_run(variant, seed, model)
                record = workspace.record(run)
                record.begin(run, {"cpu": name})
                train(record)
                record.finish(result(run, value=value + seed / 100))
                records.append(record)
        remember(workspace, "made-up", records)
        assert workspace.identity
        return workspace

    return made


def experiment(uri):
    return MlflowClient(uri).get_experiment_by_name(EXPERIMENT)


def view(uri, name):
    """The state of a view, as MLflow's page reads it."""
    packed = json.loads(experiment(uri).tags[f"mlflow.sharedViewState.{name}"])["state"]
    return json.loads(zlib.decompress(base64.b64decode(packed.removeprefix("deflate;"))))


def found(uri, name):
    """The runs that a view shows."""
    where = view(uri, name)["searchFilter"]
    return MlflowClient(uri).search_runs([experiment(uri).experiment_id], where)


def by(uri, name):
    return view(uri, name)["groupBy"]["groupByKeys"][0]["groupByData"]


def test_two_machines_that_sync_in_turns_keep_all_and_are_told_apart(uri, machine):
    laptop = machine("laptop", [0, 1])
    send(laptop, uri)
    assert by(uri, "overview") == "variant"
    desk = machine("desk", [0, 1, 2], model="deit")
    for workspace in (desk, laptop, desk, laptop):
        send(workspace, uri)
    runs, summaries = runs_of(uri), runs_of(uri, "summary")
    assert (len(runs), len(summaries)) == (4 + 6, 2 + 2)
    assert {run.data.tags["machine"] for run in runs + summaries} == {
        f"laptop {laptop.identity[:4]}",
        f"desk {desk.identity[:4]}",
    }
    assert by(uri, "overview") == "variant_machine"
    assert len({run.data.tags["variant_machine"] for run in found(uri, "overview")}) == 4
    for workspace, models in ((laptop, "vision/vit"), (desk, "vision/deit")):
        own = found(uri, f"overview.{workspace.identity}")
        assert {run.data.tags["group"] for run in own} == {models}
        seeds = found(uri, f"{models.replace('/', '-')}.{workspace.identity}")
        assert len(seeds) == 2 * int(own[0].data.tags["seeds"])
    note = experiment(uri).tags["mlflow.note.content"]
    assert note.index(f"### desk {desk.identity[:4]}") < note.index("### laptop")
    assert note.count("| vision/vit |") == note.count("| vision/deit |") == 1


def test_the_same_model_on_two_machines_has_summaries_of_both(uri, machine):
    laptop, desk = machine("laptop", [0, 1]), machine("desk", [0, 1])
    send(laptop, uri)
    send(desk, uri)
    assert len(runs_of(uri)) == 8
    assert len(runs_of(uri, "summary")) == 4
    names = {chart["metricKey"] for chart in view(uri, "overview")["compareRunCharts"]}
    assert "vit 1 result/val acc" in names


def test_machines_without_a_shared_store_are_merged(tmp_path, uri, machine, monkeypatch):
    laptop, desk = machine("laptop", [0, 1]), machine("desk", [2])
    into = Workspace(tmp_path / "all")
    merge([laptop.folder, desk.folder], into)
    (synced,) = send(into, uri)
    assert (synced.runs, synced.new) == (6, 6)
    machines = sorted(run.data.tags["machine"].split()[0] for run in runs_of(uri))
    assert machines == ["desk"] * 2 + ["laptop"] * 4
    assert {run.data.tags["seeds"] for run in runs_of(uri, "summary")} == {"3"}


def test_what_is_merged_is_not_in_a_shared_store_twice(tmp_path, uri, machine):
    laptop, desk = machine("laptop", [0, 1]), machine("desk", [2])
    into = Workspace(tmp_path / "all")
    merge([laptop.folder, desk.folder], into)
    for workspace in (laptop, into, desk):
        send(workspace, uri)
    assert len(runs_of(uri)) == 6
    assert len(found(uri, f"vision-vit.{into.identity}")) == 6
    assert len(found(uri, f"vision-vit.{desk.identity}")) == 2


def test_a_run_that_leaves_one_suite_stays_in_anothers_charts(tmp_path, uri, machine):
    laptop = machine("laptop", [0, 1])
    into = Workspace(tmp_path / "all")
    merge([laptop.folder], into)
    for workspace in (laptop, into):
        send(workspace, uri)
    listed = laptop.records_of(laptop.suite("made-up"))
    remember(laptop, "made-up", listed[:2])
    send(laptop, uri)
    assert len(found(uri, f"vision-vit.{laptop.identity}")) == 2
    assert len(found(uri, f"vision-vit.{into.identity}")) == len(runs_of(uri)) == 4


def test_a_copy_that_goes_on_has_runs_of_its_own(tmp_path, uri, machine):
    laptop = machine("laptop", [0])
    run = a_run("native", 5)
    cut = laptop.record(run)
    cut.begin(run, {})
    train(cut, last=7)
    remember(laptop, "made-up", [*laptop.records_of(laptop.suite("made-up")), cut])
    send(laptop, uri)
    shutil.copytree(laptop.folder, tmp_path / "copy")
    copy = Workspace(tmp_path / "copy")
    again = copy.record(run)
    train(again, first=8)
    again.finish(result(run, value=0.9))
    send(copy, uri)
    seed_5 = [run for run in runs_of(uri) if run.data.params["seed"] == "5"]
    assert sorted(run.info.status for run in seed_5) == ["FINISHED", "KILLED"]
    assert len({run.data.tags["dyt_bench.workspace"] for run in seed_5}) == 2
    assert len(runs_of(uri)) == 2 + 2  # what had ended is there once
    send(laptop, uri)
    assert len(runs_of(uri)) == 4


def test_what_another_workspace_runs_is_not_killed(uri, machine, monkeypatch):
    laptop = machine("laptop", [0])
    send(laptop, uri)
    (first, *_) = runs_of(uri)
    client = MlflowClient(uri)
    client.update_run(first.info.run_id, status="RUNNING")
    (synced,) = send(machine("desk", [1]), uri)
    assert synced.repaired == 0
    assert client.get_run(first.info.run_id).info.status == "RUNNING"


def pictures(workspace):
    """The artifacts of all summaries, as MLflow finds them."""
    client = MlflowClient(workspace.tracking_uri)
    return [
        (run.info.artifact_uri, [file.path for file in client.list_artifacts(run.info.run_id)])
        for run in runs_of(workspace.tracking_uri, "summary")
    ]


@pytest.fixture
def filled(machine, empty_store):
    """A workspace with a store of its own."""
    workspace = machine("laptop", [0])
    shutil.copy(empty_store, workspace.database)
    send(workspace)
    return workspace


def test_a_moved_workspace_finds_its_artifacts(tmp_path, filled):
    assert [names for _, names in pictures(filled)] == [["figures"]] * 2
    filled.folder.rename(tmp_path / "moved")
    moved = Workspace(tmp_path / "moved")
    send(moved)
    assert [names for _, names in pictures(moved)] == [["figures"]] * 2
    assert all(uri.startswith(moved.artifacts.as_uri()) for uri, _ in pictures(moved))
    assert len(runs_of(moved.tracking_uri)) == 2
    assert not filled.folder.exists()


def test_a_copied_workspace_never_writes_into_the_original(tmp_path, filled):
    shutil.copytree(filled.folder, tmp_path / "copy")
    before = {path: path.read_bytes() for path in filled.folder.rglob("*") if path.is_file()}
    copy = Workspace(tmp_path / "copy")
    run = a_run("dyt", 7)
    record = copy.record(run)
    record.begin(run, {})
    train(record)
    record.finish(result(run))
    tracker = Tracker(copy.tracking_uri, EXPERIMENT, copy)
    tracker.connect()
    tracker.follow(record)
    tracker.close()
    remember(copy, "made-up", [*copy.records_of(copy.suite("made-up")), record])
    send(copy)
    after = {path: path.read_bytes() for path in filled.folder.rglob("*") if path.is_file()}
    assert after == before
    assert all(uri.startswith(copy.artifacts.as_uri()) for uri, _ in pictures(copy))
    assert len(pictures(copy)) == 2  # none of the original's are left beside the copy's
    assert len(runs_of(copy.tracking_uri)) == 3
    assert by(copy.tracking_uri, "overview") == "variant"


def test_a_store_beside_others_keeps_its_artifacts_beside_itself(tmp_path, uri, machine):
    laptop, desk = machine("laptop", [0]), machine("desk", [1])
    for workspace in (laptop, desk):
        send(workspace, uri)
        assert not workspace.artifacts.exists()
    for run in runs_of(uri, "summary"):
        assert run.info.artifact_uri.startswith((tmp_path / "mlflow-artifacts").as_uri())


def test_a_database_that_is_none_is_one_sentence(filled):
    filled.database.write_bytes(b"no database at all" * 99)
    run = CliRunner().invoke(main, ["sync", "--workspace", str(filled.folder)])
    assert run.exit_code == 2
    assert run.stderr.startswith("dyt-bench: no MLflow store answers at sqlite:")
    assert run.stderr.count("\n") == 1


def test_mlflows_own_variable_names_the_store(uri, machine, monkeypatch):
    laptop = machine("laptop", [0])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    run = CliRunner().invoke(main, ["sync", "--workspace", str(laptop.folder)])
    assert run.exit_code == 0, run.output
    assert "MLFLOW_TRACKING_URI names the MLflow store" in run.stderr
    assert len(runs_of(uri)) == 2
    assert not laptop.database.exists()


def test_the_option_goes_before_the_variable(tmp_path, uri, machine, monkeypatch):
    laptop = machine("laptop", [0])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    arguments = ["sync", "--workspace", str(laptop.folder), "--tracking-uri", uri]
    run = CliRunner().invoke(main, arguments)
    assert run.exit_code == 0, run.output
    assert "MLFLOW_TRACKING_URI" not in run.stderr
    assert len(runs_of(uri)) == 2


def test_a_wrong_variable_is_one_sentence(machine, monkeypatch):
    laptop = machine("laptop", [0])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    run = CliRunner().invoke(main, ["sync", "--workspace", str(laptop.folder)])
    assert run.exit_code == 2
    assert "MLFLOW_TRACKING_URI names the MLflow store" in run.stderr
    assert "no MLflow store answers at http://127.0.0.1:9" in run.stderr
    assert not Path("mlruns").exists()
