"""Jobs and files that travel: paths are the other machine's, and nothing arrives by halves."""

import os
from functools import partial
from pathlib import Path

import pytest

from dyt_bench.errors import CannotWrite
from dyt_bench.executors.carry import Outbox, files_of, land, pack, unpack
from dyt_bench.executors.contract import JobFailed, Limits
from dyt_bench.executors.node import Node, versions
from dyt_bench.records.record import Record


def where(record, other, tell):
    return record.folder, other


def test_a_jobs_paths_are_the_other_machines(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    job = partial(where, Record(here / "run"), tmp_path / "data")
    packed, found = pack(job, here)
    assert found
    assert unpack(packed, there)(None) == (there / "run", tmp_path / "data")
    assert str(here).encode() not in packed


def test_a_job_without_paths_takes_no_files(tmp_path):
    assert pack(partial(where, 1, 2), tmp_path)[1] is False


@pytest.fixture
def sides(tmp_path):
    for name in ("there", "here"):
        (tmp_path / name).mkdir()
    return tmp_path / "there", tmp_path / "here"


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_grows_comes_in_parts_and_what_is_replaced_as_a_whole(sides):
    there, here = sides
    (there / "rows.jsonl").write_text("one\n")
    outbox = Outbox(there)
    for event in files_of(there):
        land(event, here)
    assert outbox.collect() == []
    with (there / "rows.jsonl").open("a") as file:
        file.write("two\n")
    (there / "checkpoint.partial").write_text("half")
    (there / "lock").touch()
    (there / "artifacts").mkdir()
    (there / "artifacts" / "a.png").write_bytes(b"picture")
    first = outbox.collect()
    assert [(event["name"], event["offset"]) for event in first] == [
        ("rows.jsonl", 4),
        ("artifacts/a.png", 0),
    ]
    for number in range(3):
        (there / "checkpoint.partial").write_text(f"checkpoint {number}")
        os.replace(there / "checkpoint.partial", there / "checkpoint")
        first += outbox.collect()
    for event in first:
        land(event, here)
    expected = content(there)
    del expected["lock"]
    assert content(here) == expected
    assert outbox.collect() == []


def test_a_checkpoint_arrives_after_the_rows_that_it_counts(sides):
    there, _ = sides
    outbox = Outbox(there)
    (there / "rows.jsonl").write_text("one\n")
    (there / "checkpoint").write_text("1")
    (there / "log.txt").write_text("line\n")
    assert [event["name"] for event in outbox.collect()][-1] == "checkpoint"


def test_a_file_that_replaces_another_comes_whole_whatever_its_inode(sides):
    there, here = sides
    (there / "checkpoint").write_text("old")
    outbox = Outbox(there)
    for content in ("new", "newer"):
        (there / "checkpoint").write_text(content)  # as if the inode were used again
        os.utime(there / "checkpoint", (len(content), 1))
        for event in outbox.collect():
            land(event, here)
        assert (here / "checkpoint").read_text() == content


def test_a_file_that_is_cut_comes_again(sides):
    there, here = sides
    (there / "rows.jsonl").write_text("one\ntw")
    outbox = Outbox(there)
    land(files_of(there)[0], here)
    os.truncate(there / "rows.jsonl", 4)
    for event in outbox.collect():
        land(event, here)
    assert content(here) == {"rows.jsonl": b"one\n"}


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil"])
def test_nothing_lands_outside_the_folder(sides, name):
    with pytest.raises(ValueError, match="no file of the job's"):
        land({"event": "file", "name": name, "offset": 0, "data": b"x"}, sides[1])


def test_a_disk_that_takes_nothing_is_told(sides):
    (sides[1] / "rows.jsonl").mkdir()
    with pytest.raises(CannotWrite):
        land({"event": "file", "name": "rows.jsonl", "offset": 0, "data": b"x"}, sides[1])


def write(folder, tell):
    (folder / "made").write_text("on the node")
    tell({"event": "news", "value": str(folder)})
    return (folder / "given").read_text()


def fail(tell):
    raise RuntimeError("out of luck")


def all_of(node):
    events = []
    while not events or events[-1]["event"] not in ("outcome", "error"):
        events += node.poll(5.0)
    return events


def test_a_node_has_the_files_and_sends_what_the_job_writes(sides):
    there, here = sides
    (there / "given").write_text("from the planner")
    packed, _ = pack(partial(write, there), there)
    node = Node(packed, "log.txt", files_of(there), Limits(), versions())
    events = all_of(node)
    node.close()
    for event in events:
        if event["event"] == "file":
            land(event, here)
    news = next(event["value"] for event in events if event["event"] == "news")
    assert Path(news) != there
    assert not Path(news).exists()
    assert events[-1]["value"] == "from the planner"
    assert (here / "made").read_text() == "on the node"


def test_a_node_tells_why_a_job_failed_and_its_log_comes(sides):
    node = Node(pack(fail, sides[0])[0], "log.txt", [], Limits(), versions())
    *files, last = all_of(node)
    node.close()
    assert isinstance(last["error"], JobFailed)
    assert str(last["error"]) == "RuntimeError: out of luck"
    assert any(b"Traceback" in event["data"] for event in files if event["event"] == "file")


def test_a_node_with_other_versions_computes_nothing(sides):
    node = Node(pack(fail, sides[0])[0], "log", [], Limits(), {"torch": "1.0"})
    (last,) = all_of(node)
    assert "the one that plans 1.0: install the same environment" in str(last["error"])
