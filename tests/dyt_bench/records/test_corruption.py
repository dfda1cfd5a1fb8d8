"""A workspace in which something is broken: `plan`, `report` and `run` end in sentences.

Every kind of corruption meets every command. What is broken is named and kept under another name,
and what is not stays as it is.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

from dyt_bench.records import stored
from dyt_bench.records.record import Record
from dyt_bench.records.workspace import Workspace

from ..instant import InstantExecutor

SUITE = """\
name: s
steps: 4
seeds: [0, 1]
executor: instant
tasks:
- {domain: tiny, models: [line], variants: [native, dyt]}
"""


def edit(file, **changes):
    """Change keys of a JSON file; None removes one."""
    content = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: v for key, v in content.items() if v is not None}))


def replaced(file, make):
    file.unlink()
    make(file)


def huge(file):
    with file.open("r+b") as opened:
        opened.truncate(stored.MOST_BYTES + 1)


def forbidden(file):
    """An administrator reads what no mode allows: a link to itself is refused to everyone."""
    replaced(file, lambda path: path.symlink_to(path.name))


def cut(file):
    file.write_bytes(file.read_bytes()[:-20])


def nested(file):
    file.write_text("[" * 200_000)


# What happened -> how, given the folder of a record; every one makes that record unreadable.
BROKEN = {
    "an empty result": lambda at: (at / "result.json").write_text(""),
    "a truncated result": lambda at: cut(at / "result.json"),
    "a binary result": lambda at: (at / "result.json").write_bytes(bytes(range(256))),
    "a list for a result": lambda at: (at / "result.json").write_text("[]"),
    "text for a number": lambda at: edit(at / "result.json", last={"val/loss": "low"}),
    "an unknown status": lambda at: edit(at / "result.json", status="splendid"),
    "a missing key": lambda at: edit(at / "result.json", ended=None),
    "NaN for a time": lambda at: edit(at / "result.json", ended=float("nan")),
    "brackets without end": lambda at: nested(at / "result.json"),
    "a folder for a result": lambda at: replaced(at / "result.json", Path.mkdir),
    "a pipe for a result": lambda at: replaced(at / "result.json", os.mkfifo),
    "a link to nothing": lambda at: replaced(at / "result.json", lambda p: p.symlink_to("no")),
    "a link to itself": lambda at: forbidden(at / "result.json"),
    "a huge result": lambda at: huge(at / "result.json"),
    "no run.json": lambda at: (at / "run.json").unlink(),
    "a run.json of nothing": lambda at: (at / "run.json").write_text("{}"),
    "parameters of other types": lambda at: edit(at / "run.json", parameters={"domain": 3}),
    "another run's record": lambda at: edit(at / "run.json", identity="0123456789ab"),
    "no rows": lambda at: (at / "rows.jsonl").unlink(),
    "rows that are cut in the middle": lambda at: (at / "rows.jsonl").write_text('{"st\n{}\n'),
    "rows without columns": lambda at: (at / "rows.jsonl").write_text('{"val/loss": 1.0}\n'),
    "rows of zeros": lambda at: (at / "rows.jsonl").write_bytes(b"\0" * 99 + b"\n"),
    "huge rows": lambda at: huge(at / "rows.jsonl"),
    "a file for a record": lambda at: (at.rename(f"{at}-moved"), at.write_text("x")),
    "a link for a record": lambda at: (at.rename(f"{at}-moved"), at.symlink_to(at.name)),
}


@pytest.fixture(scope="module")
def whole():
    """A workspace with four finished runs, made once: empty until the first test fills it."""
    return []


@pytest.fixture
def space(instant, undrawn, whole, tmp_path, tmp_path_factory, monkeypatch):
    """A copy of a workspace with four finished runs."""
    if not whole:
        whole.append(tmp_path_factory.mktemp("whole"))
        monkeypatch.chdir(whole[0])
        Path("s.yaml").write_text(SUITE)
        assert instant("run", "s.yaml").exit_code == 0
        shutil.rmtree(".dyt-bench/results")
        InstantExecutor.trained.clear()
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Workspace(Path(".dyt-bench"))


def first(space):
    """The folder of the first native run."""
    return next(iter(sorted(space.runs.iterdir())))


def sound(ended):
    """It ended by itself, in words."""
    assert ended.exit_code in (0, 2), (ended.exit_code, ended.output, ended.exception)
    assert ended.exception is None or isinstance(ended.exception, SystemExit)
    assert "Traceback" not in ended.output
    return ended


@pytest.mark.parametrize("command", [("plan", "s.yaml"), ("report", "s"), ("run", "s.yaml")])
@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_record_is_named_kept_and_counts_as_not_there(instant, space, what, command):
    broken = first(space)
    others = {path: (path / "result.json").read_bytes() for path in space.runs.iterdir()}
    del others[broken]
    BROKEN[what](broken)
    ended = sound(instant(*command))
    assert ended.exit_code == 0, ended.output
    assert ended.stderr.count("cannot be read: ") == 1
    assert broken.name in ended.stderr
    (kept,) = (space.folder / "unreadable").iterdir()
    assert kept.name == broken.name
    assert str(kept) in ended.stderr
    match command[0]:
        case "plan":
            assert ended.stdout.count("finished") == 3
        case "report":
            page = Path(".dyt-bench/results/s/README.md").read_text()
            assert "## What could not be read or drawn" in page
            assert broken.name in page
            assert (
                len(json.loads(Path(".dyt-bench/results/s/results.json").read_text())["runs"]) == 3
            )
        case "run":
            assert len(InstantExecutor.trained) == 1
            assert Record(broken).result().status == "finished"
    for path, content in others.items():
        assert (path / "result.json").read_bytes() == content
    again = sound(instant(*command))
    assert (again.exit_code, "cannot be read" in again.stderr) == (0, False)


# Of the workspace itself -> how; and what `report` then says, if not that it was written.
AROUND = {
    "a suite's list is cut": (lambda at: cut(at / "suites/s.json"), "no suite called 's'"),
    "a suite lists what is no record": (
        lambda at: edit(at / "suites/s.json", runs=["../../etc"]),
        "no suite called 's'",
    ),
    "a suite lists a run twice": (
        lambda at: edit(at / "suites/s.json", runs=2 * os.listdir(at / "runs")),
        "",
    ),
    "a suite lists what is not there": (
        lambda at: edit(at / "suites/s.json", runs=[*os.listdir(at / "runs"), "gone"]),
        "",
    ),
    "times are cut": (lambda at: [cut(path) for path in at.glob("timings/*.json")], ""),
    "times are none": (
        lambda at: [
            path.write_text('{"native": [0.0], "dyt": [1]}') for path in at.glob("timings/*")
        ],
        "",
    ),
    "the identity is binary": (lambda at: (at / "id").write_bytes(b"\xff\0"), ""),
    "running.json is a folder": (lambda at: (at / "running.json").mkdir(), ""),
    "the lock is a folder": (
        lambda at: ((at / "lock").unlink(missing_ok=True), (at / "lock").mkdir()),
        "",
    ),
    "a name is not UTF-8": (
        lambda at: os.mkdir(os.fsencode(at / "runs") + b"/tiny-\xff\x1b[31m-0123456789ab"),
        "",
    ),
    "runs is a file": (
        lambda at: ((at / "runs").rename(at / "moved"), (at / "runs").touch()),
        "nothing to report",
    ),
    "a record's picture is a link to nothing": (
        lambda at: [
            ((path / "artifacts").mkdir(), (path / "artifacts" / "a.png").symlink_to("no"))
            for path in (at / "runs").iterdir()
        ],
        "",
    ),
}


@pytest.mark.parametrize("command", [("plan", "s.yaml"), ("report", "s"), ("run", "s.yaml")])
@pytest.mark.parametrize("what", AROUND)
def test_whatever_else_is_broken_is_said_in_words(instant, space, what, command):
    breaks, said = AROUND[what]
    results = {path: path.read_bytes() for path in space.runs.glob("*/result.json")}
    breaks(space.folder)
    ended = sound(instant(*command))
    if command[0] == "report":
        assert said in ended.stderr
        assert (ended.exit_code == 2) == bool(said)
    for path, content in results.items():
        if path.exists():
            assert path.read_bytes() == content


NEWER = {"schema": stored.SCHEMA + 1}


@pytest.mark.parametrize("name", ["run.json", "result.json"])
def test_what_a_later_version_wrote_is_named_and_never_overwritten(instant, space, name):
    file = first(space) / name
    edit(file, **NEWER, last={"other": "things"})
    content = file.read_bytes()
    for command in (
        ("plan", "s.yaml"),
        ("report", "s"),
        ("run", "s.yaml"),
        ("run", "s.yaml", "--fresh"),
    ):
        ended = sound(instant(*command))
        assert "a newer version wrote it (schema 2, known is 1)" in ended.stderr
        assert (ended.exit_code == 2) == (command[0] == "run")
        assert file.read_bytes() == content
    assert InstantExecutor.trained == []
    assert not (space.folder / "unreadable").exists()


def test_a_later_versions_list_of_a_suite_is_never_overwritten(instant, space):
    file = space.suite_path("s")
    edit(file, **NEWER)
    content = file.read_bytes()
    assert sound(instant("run", "s.yaml")).exit_code == 2
    assert sound(instant("report", "s")).exit_code == 2
    assert file.read_bytes() == content


def test_keys_of_later_versions_are_ignored(instant, space):
    for name in ("run.json", "result.json"):
        edit(first(space) / name, more={"of": "it"})
    edit(space.suite_path("s"), more=1)
    ended = sound(instant("report", "s"))
    assert (ended.exit_code, "cannot be read" in ended.stderr) == (0, False)


def test_every_record_says_its_schema(space):
    for path in (*space.runs.glob("*/*.json"), space.suite_path("s")):
        assert json.loads(path.read_text())["schema"] == stored.SCHEMA


def test_nothing_is_moved_while_another_run_works_there(instant, space):
    broken = first(space)
    (broken / "result.json").write_text("")
    with Workspace(space.folder).opened():
        for command in (("plan", "s.yaml"), ("report", "s")):
            ended = sound(instant(*command))
            assert ended.exit_code == 0
            assert "it stays, as another run works here, and left out" in ended.stderr
    assert (broken / "result.json").exists()


def test_what_was_set_aside_before_is_kept_as_well(instant, space):
    for _ in range(2):
        (first(space) / "result.json").write_text("")
        assert sound(instant("run", "s.yaml")).exit_code == 0
    kept = sorted(path.name for path in (space.folder / "unreadable").iterdir())
    assert kept == [first(space).name, f"{first(space).name}-2"]


def test_a_path_that_is_not_utf8_is_no_reason_to_refuse_a_record(space):
    file = first(space) / "run.json"
    about = json.loads(file.read_text())
    about["parameters"]["path"] = "/data/\udcff"
    file.write_text(json.dumps(about))
    assert Record(first(space)).about()["parameters"]["path"] == "/data/\udcff"
