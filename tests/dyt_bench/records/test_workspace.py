"""The folder of all runs: whose it is, what it refuses, and which times it pools."""

import os
from dataclasses import replace

import pytest

from dyt_bench.errors import UserError
from dyt_bench.plugin.atomic import write_json
from dyt_bench.plugin.task import AA, Run, Task, Variant
from dyt_bench.records import workspace as workspaces
from dyt_bench.records.workspace import Workspace

TASK = Task(
    domain="vision",
    model="vit",
    dataset="digits",
    steps=2,
    batch_size=8,
    learning_rate=1e-3,
    val_every=1,
)
VARIANTS = [Variant(), Variant(name="dyt")]
SECONDS = {"native": [1.0], AA: [1.0], "dyt": [0.9]}


@pytest.fixture
def on(monkeypatch):
    """Be on a machine with that processor."""

    def be(name):
        monkeypatch.setattr(workspaces, "processor", lambda: name)

    return be


def records(workspace, tasks):
    begun = []
    for task in tasks:
        for variant in VARIANTS:
            run = Run(task=task, variant=variant)
            begun.append(workspace.record(run))
            begun[-1].begin(run, {})
    return begun


def test_times_of_two_processors_are_kept_apart_and_never_pooled(tmp_path, on):
    workspace = Workspace(tmp_path / "w")
    workspace.create()
    tasks = [replace(TASK, seed=seed) for seed in range(3)]
    begun = records(workspace, tasks)
    for age, (processor, timed) in enumerate([("Intel", tasks), ("AMD", tasks[:2])]):
        on(processor)
        for task in timed:
            path = workspace.timing_path(task, VARIANTS)
            assert not path.exists()  # the other processor's is not taken for this one's
            write_json(path, {**SECONDS, "dyt": [0.5 + age]})
            os.utime(path, (1000.0 + age, 1000.0 + age))
    found = workspace.timings(begun)
    assert found == {task.identity: {**SECONDS, "dyt": [1.5]} for task in tasks[:2]}
    on("Intel")  # asking from another machine changes nothing
    assert workspace.timings(begun) == found


def test_what_was_never_timed_has_no_times(tmp_path):
    workspace = Workspace(tmp_path / "w")
    workspace.create()
    assert workspace.timings(records(workspace, [TASK])) == {}


def test_a_workspace_of_an_earlier_format_is_left_as_it_is(tmp_path):
    old = tmp_path / ".dyt-bench"
    (old / "cells" / "vision-vit").mkdir(parents=True)
    (old / "cells" / "vision-vit" / "cell.json").write_text("{}")
    said = r"records in an earlier format.*`mv .*--workspace"
    with pytest.raises(UserError, match=said) as raised:
        Workspace(old)
    assert "\n" not in str(raised.value)
    assert (old / "cells" / "vision-vit" / "cell.json").read_text() == "{}"
