"""Results of several workspaces in one: each run once, with where it comes from."""

import json
import shutil
from dataclasses import replace

import pytest
from click.testing import CliRunner

from dyt_bench.cli import main
from dyt_bench.errors import UserError
from dyt_bench.plugin.atomic import write_json
from dyt_bench.plugin.task import Run, Task, Variant
from dyt_bench.records.merge import merge
from dyt_bench.records.record import Result
from dyt_bench.records.workspace import Workspace

TASK = Task(
    domain="vision",
    model="vit",
    dataset="digits",
    steps=2,
    batch_size=8,
    learning_rate=1e-3,
    val_every=1,
    data_digest="abc",
)


def ended(value, status="finished", step_ms=12.0):
    at = {"step": 2.0, "val/acc": value, "val/loss": 1.0}
    return Result(
        status=status,
        started=1000.0,
        ended=1010.0,
        first=at,
        best=at,
        last=at,
        summary={"time/step_ms_median": step_ms},
    )


@pytest.fixture
def made(tmp_path):
    """A workspace of a machine: (name, seed -> value) -> the workspace."""

    def make(name, values, suite="mine", status="finished"):
        workspace = Workspace(tmp_path / name)
        workspace.create()
        assert workspace.identity
        names = []
        for seed, value in values.items():
            run = Run(task=replace(TASK, seed=seed), variant=Variant())
            record = workspace.record(run)
            record.begin(run, {"cpu": name})
            record.append(1, {"train/loss": 1.0})
            if value is not None:
                record.finish(ended(value, status))
            names.append(record.folder.name)
        write_json(workspace.suite_path(suite), {"title": "Mine", "runs": names})
        return workspace

    return make


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_machines_are_put_together_and_are_only_read(tmp_path, made):
    one, two = made("one", {0: 0.5, 1: 0.6}), made("two", {2: 0.7})
    write_json(one.folder / "timings" / "a-1.json", {"native": [1.0]})
    before = content(one.folder) | content(two.folder)
    into = Workspace(tmp_path / "all")
    merged = merge([one.folder, two.folder], into)
    assert (merged.new, merged.there, merged.suites) == (3, 0, ["mine"])
    assert content(one.folder) | content(two.folder) == before
    records = into.readable(into.records_of(into.suite("mine")))
    assert [record.result().last["val/acc"] for record in records] == [0.5, 0.6, 0.7]
    made_by = [record.origin().workspace for record in records]
    assert made_by == [one.identity, one.identity, two.identity]
    assert (into.folder / "timings" / "a-1.json").exists()
    assert not into.problems


def test_merging_again_changes_nothing(tmp_path, made):
    one = made("one", {0: 0.5})
    into = Workspace(tmp_path / "all")
    merge([one.folder], into)
    before = content(into.runs)
    again = merge([one.folder, one.folder], into)
    assert (again.new, again.there) == (0, 2)
    assert content(into.runs) == before
    assert len(into.suite("mine").runs) == 1


def test_the_first_of_two_that_differ_is_kept_and_told(tmp_path, made):
    one, two = made("one", {0: 0.5}), made("two", {0: 0.4})
    into = Workspace(tmp_path / "all")
    merged = merge([one.folder, two.folder], into)
    assert (merged.new, len(merged.differ)) == (1, 1)
    (record,) = into.records_of(into.suite("mine"))
    assert record.result().last["val/acc"] == 0.5


def test_what_has_not_ended_or_failed_is_left_out(tmp_path, made):
    one, two = made("one", {0: None, 1: 0.5}), made("two", {2: 0.1}, status="failed")
    into = Workspace(tmp_path / "all")
    merged = merge([one.folder, two.folder], into)
    assert (merged.new, merged.open) == (1, 2)
    assert len(into.suite("mine").runs) == 1


def test_a_failed_run_gives_way_to_one_that_another_machine_ended(tmp_path, made):
    one, two = made("one", {0: 0.1}, status="failed"), made("two", {0: 0.5})
    merged = merge([two.folder], one)
    assert merged.new == 1
    (record,) = one.records_of(one.suite("mine"))
    assert record.result().status == "finished"


def test_what_was_merged_keeps_where_it_comes_from(tmp_path, made):
    one = made("one", {0: 0.5})
    merge([one.folder], Workspace(tmp_path / "all"))
    into = Workspace(tmp_path / "more")
    merge([tmp_path / "all"], into)
    (record,) = into.records_of(into.suite("mine"))
    assert record.origin().workspace == one.identity


def test_what_cannot_be_read_is_told_and_stays(tmp_path, made):
    one = made("one", {0: 0.5, 1: 0.6})
    broken = next(iter(one.runs.iterdir())) / "rows.jsonl"
    broken.write_text("no row\n")
    merged = merge([one.folder], Workspace(tmp_path / "all"))
    assert merged.new == 1
    assert "cannot be read" in merged.problems[0]
    assert broken.read_text() == "no row\n"


def run(*arguments):
    return CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda one: shutil.rmtree(one / "runs"), "is no workspace"),
        (lambda one: (one / "suites" / "mine.json").write_text("{"), "cannot be read: it is no"),
        (lambda one: write_json(one / "suites" / "mine.json", {"schema": 99}), "a newer version"),
        (lambda one: shutil.rmtree(one), "does not exist"),
    ],
)
def test_a_source_that_is_none_is_one_sentence(tmp_path, made, spoil, said):
    one = made("one", {0: 0.5}).folder
    spoil(one)
    ended = run("merge", one, "--workspace", tmp_path / "all")
    assert ended.exit_code == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "all" / "runs").exists()


def test_a_workspace_is_not_merged_into_itself(made):
    one = made("one", {0: 0.5})
    with pytest.raises(UserError, match="leave it out"):
        merge([one.folder], one)


def test_the_command_says_what_it_did(tmp_path, made):
    one, two = made("one", {0: 0.5}), made("two", {0: 0.4, 1: 0.5})
    ended = run("merge", one.folder, two.folder, "--workspace", tmp_path / "all")
    assert ended.exit_code == 0
    assert "2 runs are new, 0 were there, 0 have not ended" in ended.stdout
    assert "1 were there with other numbers, which were kept: vision-vit-native-s0-" in ended.stdout
    again = run("merge", one.folder, "--workspace", tmp_path / "all", "--json")
    assert json.loads(again.stdout)["there"] == 1
