"""The event files of the mirror "tensorboard", read back by TensorBoard's own reader."""

import math

import pytest

from dyt_bench.discovery.extensions import mirrors_called
from dyt_bench.errors import UserError
from dyt_bench.tracking import tensorboard
from dyt_bench.tracking.sync import copy_suites
from dyt_bench.tracking.tensorboard import TensorBoard

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def read(workspace):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    def found():
        """Folder of a run -> what TensorBoard reads in it."""
        root = workspace.folder / "mirrors/tensorboard/made-up"
        loaded = {}
        for folder in sorted(root.iterdir()):
            loaded[folder.name] = accumulator.EventAccumulator(
                str(folder), {accumulator.SCALARS: 0, accumulator.TENSORS: 0}
            ).Reload()
        return loaded

    return found


def points(events, tag):
    return [(e.step, pytest.approx(e.value, rel=1e-6)) for e in events.Scalars(tag)]


def test_curves_are_the_records(workspace, suite, read):
    (copied,) = copy_suites([], workspace, mirrors_called(["tensorboard"]))
    folder = workspace.folder / "mirrors/tensorboard/made-up"
    assert copied.place == f"tensorboard --logdir {folder}"
    found = read()
    assert len(found) == 4
    for record in suite:
        (name,) = [n for n in found if record.about()["identity"] in n]
        events = found[name]
        for tag in ("train/loss", "val/acc"):
            expected = [(r["step"], r[tag]) for r in record.rows() if tag in r]
            assert points(events, tag) == expected
        times = [r["time"] for r in record.rows() if "train/loss" in r]
        assert [e.wall_time for e in events.Scalars("train/loss")] == pytest.approx(times)
        result = record.result()
        assert points(events, "memory/peak_mib") == [(40, 300.0)]
        assert points(events, "best/val/acc") == [(40, result.best["val/acc"])]


def test_runs_are_compared_by_their_parameters_and_described(workspace, suite, read):
    pytest.importorskip("tensorboard")
    from tensorboard.plugins.hparams import metadata

    copy_suites([], workspace, mirrors_called(["tensorboard"]))
    variants = set()
    for events in read().values():
        content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
        start = metadata.parse_session_start_info_plugin_data(content)
        variants.add(start.hparams["variant"].string_value)
        assert start.hparams["learning_rate"].number_value == 1e-3
        (event,) = events.Tensors("run")
        text = event.tensor_proto.string_val[0].decode()
        assert "| val_every" in text
        assert "abacus" in text
        (end,) = events.Tensors("end")
        assert end.tensor_proto.string_val[0] == b"finished"
    assert variants == {"native", "dyt"}


def test_a_run_that_is_sent_again_replaces_its_file(workspace, suite, read):
    copy_suites([], workspace, mirrors_called(["tensorboard"]))
    ended = suite[0].result()
    ended.summary["time/step_ratio"] = 0.5
    suite[0].finish(ended)
    copy_suites([], workspace, mirrors_called(["tensorboard"]))
    found = read()
    assert len(found) == 4
    (name,) = [n for n in found if suite[0].about()["identity"] in n]
    assert len(points(found[name], "train/loss")) == 40
    assert points(found[name], "time/step_ratio") == [(40, 0.5)]
    assert all(math.isfinite(e.value) for e in found[name].Scalars("train/loss"))


def test_without_tensorboard_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'dyt-bench\[tensorboard\]'"):
        TensorBoard(tmp_path, "made-up")
