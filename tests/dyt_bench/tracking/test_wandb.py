"""The files of the mirror "wandb", read back by Weights & Biases' own messages."""

import json
import struct

import pytest

from dyt_bench.discovery.extensions import mirrors_called
from dyt_bench.errors import UserError
from dyt_bench.tracking import wandb as mirror
from dyt_bench.tracking.sync import copy_suites
from dyt_bench.tracking.wandb import WeightsAndBiases

BLOCK = 2**15  # bytes


@pytest.fixture(autouse=True)
def _logged_out(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def parts_of(content):
    """The records of a file in LevelDB's log format, which begins with seven bytes of its own."""
    place, whole = 7, b""
    while place + 7 <= len(content):
        if BLOCK - place % BLOCK < 7:  # too little for a header: the next block begins
            place += BLOCK - place % BLOCK
            continue
        _, size, kind = struct.unpack_from("<IHB", content, place)
        whole += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # complete, or the last part
            yield whole
            whole = b""


def steps_of(record):
    """What was measured at each step, validations included: W&B has one row a step."""
    steps = {}
    for row in record.rows():
        own = {name: value for name, value in row.items() if name != "step"}
        steps[row["step"]] = {**steps.get(row["step"], {}), **own}
    return steps


@pytest.fixture
def read(workspace):
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    def parsed(items):
        return {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}

    def found():
        """Id of a run -> its name, group, parameters, rows, summary and exit code."""
        runs = {}
        for file in workspace.folder.glob("mirrors/wandb/made-up/wandb/offline-run-*/*.wandb"):
            run = {"rows": [], "summary": {}}
            for data in parts_of(file.read_bytes()):
                record = wandb_internal_pb2.Record()
                record.ParseFromString(data)
                kind = record.WhichOneof("record_type")
                if kind == "run":
                    run |= {"name": record.run.display_name, "group": record.run.run_group}
                    run["variant"] = record.run.job_type
                    run["config"] = parsed(record.run.config.update)
                    run["key"] = record.run.run_id
                elif kind == "history":
                    run["rows"].append(parsed(record.history.item))
                elif kind == "summary":
                    run["summary"] |= parsed(record.summary.update)
                elif kind == "exit":
                    run["exit"] = record.exit.exit_code
            runs[run["key"]] = run
        return runs

    return found


def test_a_run_is_the_record(workspace, suite, read):
    (copied,) = copy_suites([], workspace, mirrors_called(["wandb"]))
    assert (
        copied.place == f"wandb sync {workspace.folder}/mirrors/wandb/made-up/wandb/offline-run-*"
    )
    found = read()
    assert len(found) == 4
    for record in suite:
        (run,) = [run for key, run in found.items() if record.about()["identity"] in key]
        about = record.about()
        assert run["name"] == about["label"]
        assert run["variant"] == run["config"]["variant"]
        assert run["config"]["learning_rate"] == 1e-3
        expected = steps_of(record)
        assert len(run["rows"]) == len(expected)
        for row in run["rows"]:
            own = expected[row["_step"]]
            assert row["_timestamp"] == pytest.approx(own.pop("time"))
            assert {name: row[name] for name in own} == own
        result = record.result()
        assert run["summary"]["memory/peak_mib"] == 300.0
        assert run["summary"]["best/val/acc"] == result.best["val/acc"]
        assert run["summary"]["status"] == "finished"
        assert run["exit"] == 0


def test_a_run_that_is_sent_again_replaces_its_files(workspace, suite, read):
    copy_suites([], workspace, mirrors_called(["wandb"]))
    ended = suite[0].result()
    ended.summary["time/step_ratio"] = 0.5
    suite[0].finish(ended)
    copy_suites([], workspace, mirrors_called(["wandb"]))
    found = read()
    assert len(found) == 4
    (run,) = [run for key, run in found.items() if suite[0].about()["identity"] in key]
    assert run["summary"]["time/step_ratio"] == 0.5
    assert len(run["rows"]) == len(steps_of(suite[0]))


def test_it_is_online_for_whoever_is_logged_in(monkeypatch, tmp_path):
    pytest.importorskip("wandb")
    assert WeightsAndBiases(tmp_path, "made-up").mode == "offline"
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    online = WeightsAndBiases(tmp_path, "made-up")
    assert (online.mode, online.place) == (
        "online",
        "project dyt-bench-made-up of Weights & Biases",
    )
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert WeightsAndBiases(tmp_path, "made-up").mode == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert WeightsAndBiases(tmp_path, "made-up").mode == "online"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert WeightsAndBiases(tmp_path, "made-up").mode == "offline"


def test_without_wandb_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(mirror, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'dyt-bench\[wandb\]'"):
        WeightsAndBiases(tmp_path, "made-up")
