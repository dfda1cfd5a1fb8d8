"""Devices and nodes that runs take: they are there, or one sentence says so."""

import pytest

from dyt_bench.errors import UserError
from dyt_bench.plugin.task import Run, Task
from dyt_bench.scheduling import session
from dyt_bench.scheduling.session import check_devices
from dyt_bench.suite.expand import Suite

TASK = {"domain": "llm", "model": "llama", "dataset": "kjv", "steps": 4, "batch_size": 64}


def suite(executor="local", options=(), **more):
    task = Task(**TASK, learning_rate=1e-3, val_every=2, **more)
    runs = (Run(task=task),)
    return Suite("s", "S", "training", runs, executor=executor, executor_options=dict(options))


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr(session, "devices", lambda: 2)


@pytest.mark.parametrize(
    "fine",
    [
        suite(devices=2),
        suite("ray", {}, devices=8),
        suite("slurm", {"nodes": 2}, devices=8, nodes=2),
    ],
)
def test_what_is_there_is_taken(fine):
    check_devices(fine)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (suite(devices=3), r"takes 3 devices, and this machine has 2: give it fewer `devices`"),
        (suite(nodes=2), r"trains on 2 nodes, and the executor 'local' gives a run 1: several"),
        (suite("ray", nodes=2), r"trains on 2 nodes, and the executor 'ray' gives a run 1"),
        (suite("slurm", {"nodes": 4}, nodes=2), r"on 2 nodes, and .* 'slurm' gives a run 4"),
        (suite("slurm", {"nodes": 2}), r"on 1 nodes, and .* 'slurm' gives a run 2"),
    ],
)
def test_what_is_not_is_one_sentence(wrong, said):
    with pytest.raises(UserError, match=said):
        check_devices(wrong)
