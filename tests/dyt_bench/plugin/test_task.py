"""Identity: everything that decides the outcome, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from dyt_bench.plugin.task import Run, Task, Variant

TASK = Task(
    domain="vision",
    model="vit",
    dataset="digits",
    steps=10,
    batch_size=4,
    learning_rate=1e-3,
    val_every=5,
    data_digest="d",
    code_digest="c",
)


@pytest.mark.parametrize(
    "change",
    [
        {"domain": "llm"},
        {"model": "convnext"},
        {"dataset": "folder"},
        {"seed": 1},
        {"steps": 20},
        {"batch_size": 8},
        {"learning_rate": 2e-3},
        {"val_every": 2},
        {"data_digest": "e"},
        {"code_digest": "f"},
    ],
)
def test_what_decides_the_outcome_changes_the_identity(change):
    assert Run(task=replace(TASK, **change)).identity != Run(task=TASK).identity


def test_norm_and_its_options_change_the_identity():
    variants = [
        Variant(),
        Variant(name="dyt"),
        Variant(name="dyt", alpha_init_value=0.8),
        Variant(name="dyt", recipe="llama"),
    ]
    assert len({Run(task=TASK, variant=variant).identity for variant in variants}) == len(variants)


def test_where_the_files_lie_does_not():
    moved = replace(TASK, path=Path("/elsewhere"))
    assert Run(task=moved).identity == Run(task=TASK).identity


def test_parameters_leave_out_what_is_not_set():
    assert "path" not in Run(task=TASK).parameters()
    run = Run(task=TASK, variant=Variant(name="dyt", alpha_init_value=0.8))
    assert run.parameters()["variant"] == "dyt alpha=0.8"
    assert run.parameters()["alpha_init_value"] == 0.8
