"""Filling a store from the records: everything, once, whatever the store has already."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from filelock import FileLock
from mlflow import MlflowClient

from dyt_bench.cli import main
from dyt_bench.discovery.domains import discover
from dyt_bench.errors import UserError
from dyt_bench.report.group import write_group
from dyt_bench.tracking.mirror import Mirror
from dyt_bench.tracking.store import VARIANT_TAG, Store
from dyt_bench.tracking.summary import Preview
from dyt_bench.tracking.sync import sync_suites

from .conftest import STEPS, a_run, curves, remember, result, runs_of, train


def draw_nothing(name, metric, runs, standings, folder):
    """Figures take most of a sync's time; one test looks at them."""
    assert folder.is_dir()


@pytest.fixture
def sync(uri, workspace):
    def synced(*names, to=uri, draw=draw_nothing):
        return sync_suites(names, workspace, to, discover().metric, draw)

    return synced


def everything(uri):
    """All that a store has, as plain data that compares."""
    return sorted(
        (run.info.run_name, run.info.status, run.data.params, run.data.tags, curves(uri, run))
        for kind in ("run", "summary")
        for run in runs_of(uri, kind)
    )


def test_a_new_store_gets_everything_and_twice_is_once(uri, suite, sync):
    (first,) = sync()
    assert (first.runs, first.new, first.repaired) == (4, 4, 0)
    before = everything(uri)
    assert len(before) == 4 + 2
    for run in runs_of(uri):
        assert run.info.status == "FINISHED"
        assert len(curves(uri, run)["train/loss"]) == STEPS
    (again,) = sync()
    assert again.new == 0
    assert everything(uri) == before


def test_a_server_is_filled_as_a_file_is(uri, suite, sync, server):
    server.start()
    sync(to=server.uri, draw=write_group)
    assert len(runs_of(uri)) == 4
    summaries = runs_of(uri, "summary")
    assert {run.data.tags[VARIANT_TAG] for run in summaries} == {"native", "dyt"}
    client = MlflowClient(server.uri)
    for run in summaries:
        names = [file.path for file in client.list_artifacts(run.info.run_id, "figures")]
        assert names == ["figures/curves.png", "figures/summary.png"]


def test_a_summary_has_mean_bounds_number_and_verdict(uri, suite, sync):
    sync()
    by_variant = {run.data.tags[VARIANT_TAG]: run for run in runs_of(uri, "summary")}
    assert set(by_variant) == {"native", "dyt"}
    dyt = by_variant["dyt"]
    assert dyt.info.run_name == "vit dyt: undetermined"
    assert dyt.data.tags["group"] == "vision/vit"
    assert dyt.data.params["seeds"] == "0, 1"
    tags = dyt.data.tags
    assert dyt.data.metrics["vit 1 result/val acc"] == pytest.approx(0.605)
    assert tags["measured.mean"] == "0.605"
    assert (tags["measured.least"], tags["measured.most"]) == ("0.6", "0.61")
    assert tags["seeds"] == "2"
    assert tags["measured.gain"] == "0.2"
    assert tags["gain"].startswith("+0.2000 [")
    assert tags["verdict"] == "undetermined"  # of two seeds
    assert by_variant["native"].data.tags["verdict"] == "baseline"
    assert "**undetermined**" in dyt.data.tags["mlflow.note.content"]
    found = curves(uri, dyt)
    assert len(found["vit 2 curves/train loss"]) == STEPS
    assert [step for step, _ in found["vit 4 diagnostics/alpha by layer"]] == [0, 1, 2, 3]


def test_another_seed_replaces_the_summaries(uri, suite, workspace, begin, sync):
    sync()
    for variant, value in (("native", 0.4), ("dyt", 0.6)):
        run = a_run(variant, seed=2)
        suite.append(begin(run))
        train(suite[-1])
        suite[-1].finish(result(run, value=value))
    remember(workspace, "made-up", suite)
    sync()
    summaries = runs_of(uri, "summary")
    assert sorted(run.data.tags[VARIANT_TAG] for run in summaries) == ["dyt", "native"]
    assert {run.data.tags["seeds"] for run in summaries} == {"3"}


def test_while_a_suite_runs_its_overview_is_there_and_fills(uri, workspace, begin):
    runs = [a_run(variant, seed=0) for variant in ("native", "dyt")]
    preview = Preview("made-up", "Made up", runs, workspace, discover().metric)
    store = Store(uri, "dyt-bench/made-up", workspace.artifacts)
    store.open()
    remember(workspace, "made-up", [workspace.record(run) for run in runs])

    def tell():
        preview._due = 0.0  # it would wait
        assert not preview.send(store, last=False)

    tell()
    tags = MlflowClient(uri).get_experiment(store.experiment_id).tags
    assert set(tags) >= {"mlflow.sharedViewState.overview", "mlflow.sharedViewState.vision-vit"}
    assert runs_of(uri, "summary") == []
    for run in runs:
        record = begin(run)
        Mirror(record, workspace.origin).send(store, last=False)
        tell()
        tracked = next(r for r in runs_of(uri) if r.info.status == "RUNNING")
        assert tracked.data.tags["group"] == "vision/vit"
        train(record)
        record.finish(result(run))
        Mirror(record, workspace.origin).send(store, last=False)
        tell()
        assert len(runs_of(uri, "summary")) == 1 + runs.index(run)
    assert preview.send(store, last=True)


def test_runs_that_the_suite_no_longer_has_leave_its_charts(uri, suite, workspace, sync):
    sync()
    remember(workspace, "made-up", suite[:2])
    sync()
    assert len(runs_of(uri)) == 2
    assert len(runs_of(uri, "earlier run")) == 2
    remember(workspace, "made-up", suite)
    sync()
    assert len(runs_of(uri)) == 4


def test_what_was_cut_off_is_killed_unless_it_still_runs(uri, workspace, begin, suite, sync):
    cut = begin(a_run("dyt", seed=5))
    train(cut, last=7)
    remember(workspace, "made-up", [*suite, cut])
    with FileLock(workspace.folder / "lock"):  # as a run holds it
        sync()
    states = {run.data.params["seed"]: run.info for run in runs_of(uri)}
    assert states["5"].status == "RUNNING"
    (synced,) = sync()
    assert synced.repaired == 1
    states = {run.data.params["seed"]: run.info for run in runs_of(uri)}
    assert states["5"].status == "KILLED"
    assert states["5"].end_time == round(cut.rows()[-1]["time"] * 1e3)


def test_the_views_are_there_and_group_by_variant(uri, suite, sync):
    (synced,) = sync()
    tags = MlflowClient(uri).get_experiment(synced.experiment_id).tags
    assert set(tags) >= {"mlflow.sharedViewState.overview", "mlflow.sharedViewState.vision-vit"}
    assert json.loads(tags["mlflow.sharedViewState.overview"])["state"].startswith("deflate;")
    assert "viewStateShareKey=overview" in tags["mlflow.note.content"]
    for run in runs_of(uri) + runs_of(uri, "summary"):
        assert run.data.tags[VARIANT_TAG] in ("native", "dyt")
        assert not {"native", "dyt"} & set(run.data.params.values())  # there once


@pytest.mark.parametrize(
    ("names", "to", "message"),
    [
        (["mine"], "sqlite:///unused.db", "no suite called 'mine' has run in"),
        ([], "http://127.0.0.1:9", "no MLflow store answers at http://127.0.0.1:9"),
    ],
)
def test_a_mistake_is_one_sentence(names, to, message, suite, sync):
    with pytest.raises(UserError, match=message) as caught:
        sync(*names, to=to)
    assert "\n" not in str(caught.value)


def test_the_command_says_what_it_sent(uri, suite, workspace):
    command = [sys.executable, "-m", "dyt_bench", "sync", "--workspace", str(workspace.folder)]
    run = subprocess.run(
        [*command, "--tracking-uri", uri], capture_output=True, text=True, check=True
    )
    assert run.stdout == f"dyt-bench/made-up: 4 runs, 4 of them new to {uri}\n"


def test_the_command_says_what_it_sent_for_programs(uri, suite, workspace):
    arguments = ["sync", "--json", "--workspace", str(workspace.folder), "--tracking-uri", uri]
    (sent,) = json.loads(CliRunner().invoke(main, arguments).stdout)
    assert (sent["suite"], sent["runs"], sent["new"], sent["repaired"]) == ("made-up", 4, 4, 0)
    assert sent["tracking_uri"] == uri
