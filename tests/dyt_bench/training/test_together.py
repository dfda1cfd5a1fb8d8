"""A run of several processes, or in micro-batches, is the run of one: samples, losses, metrics."""

import os
import pickle
import socket
import subprocess
import sys
from copy import copy
from dataclasses import replace

import pytest
import torch

from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.resolve import resolve
from dyt_bench.errors import DataError, UserError
from dyt_bench.plugin.task import Run, Task, Variant
from dyt_bench.records.record import Record
from dyt_bench.scheduling.jobs import train_run
from dyt_bench.training import micro

TASK = Task(
    domain="vision",
    model="vit-w32",
    dataset="digits",
    steps=20,
    batch_size=16,
    learning_rate=6e-3,
    val_every=10,
)
TOGETHER = {"devices": 2, "micro_batch": 4}
LLAMA = replace(TASK, domain="llm", model="llama", dataset="kjv", batch_size=4, learning_rate=6e-3)
SHARDED = {"devices": 2, "strategy": "fsdp2"}
DYT = Variant(name="dyt")
# What an executor starts on a node that is not the first.
NODE = """
import pickle, sys, torch
from dyt_bench.scheduling.jobs import train_run
run, record, threads = pickle.loads(bytes.fromhex(sys.argv[1]))
torch.set_num_threads(threads)
result = train_run(run, record, lambda event: None, evaluate=False)
assert result.status == "finished" and not result.last
"""


def in_float64(task):
    """The task's domain, with its preset in float64. A copy: the other processes get it, too."""
    domain = copy(discover().domain(task.domain))
    preset = replace(domain.trainings[task.training], precision="64-true")
    domain.trainings = {task.training: preset}
    return domain


@pytest.fixture
def train(tmp_path):
    def ran(name, task, variant=DYT, **options):
        record = Record(tmp_path / name)
        run = Run(task=task, variant=variant)
        if not record.begun:
            record.begin(run, {})
        return train_run(run, record, lambda event: None, evaluate=False, **options), record

    return ran


def assert_alike(one, other, rel=1e-4):
    (result, record), (other_result, other_record) = one, other
    assert result.facts["batches"] == other_result.facts["batches"]
    assert result.facts["weights"] == other_result.facts["weights"]
    rows, other_rows = record.rows(), other_record.rows()
    assert [row["step"] for row in rows] == [row["step"] for row in other_rows]
    for row, other_row in zip(rows, other_rows, strict=True):
        for name in row:
            if name.startswith(("train/", "val/")):
                assert other_row[name] == pytest.approx(row[name], rel=rel), (name, row["step"])


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"micro_batch": 4}, TOGETHER], ids=str)
def test_a_divided_run_is_the_run_of_one(train, changes):
    whole = train("whole", TASK)
    divided = train("divided", replace(TASK, **changes))
    assert_alike(whole, divided)
    assert divided[0].facts["micro_batch"] == "4"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("domain", "model", "dataset", "batch_size"),
    [
        ("diffusion", "dit", "digits", 32),
        ("dna", "hyena-w64", "chloroplast", 8),
        ("dna", "caduceus", "chloroplast", 8),
        ("dna", "hyena-w64", "species", 8),
        ("llm", "llama", "kjv", 4),
        ("speech", "wav2vec2", "prompts", 16),
    ],
)
@pytest.mark.parametrize("parts", [1, 2])
def test_so_is_that_of_every_domain(train, domain, model, dataset, batch_size, parts):
    found = discover().domain(domain).models[model]
    task = replace(
        TASK,
        domain=domain,
        model=model,
        dataset=dataset,
        batch_size=batch_size,
        learning_rate=found.learning_rate,
        training=found.training,
    )
    divided = replace(task, devices=2, micro_batch=batch_size // 2 // parts)
    # In HyenaDNA rounding in float32 grows to 1.2e-4 of the loss in 20 steps.
    options = {"domain": in_float64(task)} if model == "hyena-w64" else {}
    assert_alike(train("whole", task, **options), train("divided", divided, **options))


@pytest.mark.slow
def test_a_run_of_shared_weights_is_the_run_of_one(train):
    whole = train("whole", LLAMA, Variant(name="dyt", recipe="paper"))
    shared = train("shared", replace(LLAMA, **SHARDED), Variant(name="dyt", recipe="paper"))
    assert_alike(whole, shared)
    for row, other in zip(whole[1].rows(), shared[1].rows(), strict=True):
        if "train/gradient_norm" in row:  # of all weights, by which gradients are clipped
            assert other["train/gradient_norm"] == pytest.approx(
                row["train/gradient_norm"], rel=1e-4
            )
    assert shared[0].alpha == pytest.approx(whole[0].alpha, rel=1e-4)
    assert shared[0].summary["model/parameters"] == whole[0].summary["model/parameters"]


@pytest.mark.slow
def test_shared_weights_start_as_one_process_starts_them(train):
    """A fitted start needs the weights in every process; the others get theirs from the first."""
    task = replace(LLAMA, steps=2, val_every=2)
    for recipe in (None, "calibrated"):
        variant = Variant(name="dyt", recipe=recipe)
        whole = train(f"whole {recipe}", task, variant)
        assert_alike(whole, train(f"shared {recipe}", replace(task, **SHARDED), variant))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["llama", "ernie", "gpt2"])
@pytest.mark.parametrize("name", ["native", "dyt"])
def test_so_is_that_of_every_family_in_micro_batches(train, model, name):
    task, variant = replace(LLAMA, model=model), Variant(name=name)
    whole = train("whole", task, variant)
    assert_alike(whole, train("shared", replace(task, **SHARDED, micro_batch=1), variant))


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "changes"), [(TASK, {"micro_batch": 4}), (LLAMA, {"strategy": "fsdp2"})], ids=str
)
def test_so_is_that_of_two_nodes(train, tmp_path, monkeypatch, task, changes):
    """Both are this machine. The second one records nothing."""
    whole = train("whole", task)
    divided = replace(task, nodes=2, **changes)
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    given = (Run(task=divided, variant=DYT), Record(tmp_path / "nodes"), torch.get_num_threads())
    second = subprocess.Popen(
        [sys.executable, "-c", NODE, pickle.dumps(given).hex()],
        env={**os.environ, **meeting, "NODE_RANK": "1"},
    )
    for name, value in {**meeting, "NODE_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    try:
        together = train("nodes", divided)
        assert second.wait(60) == 0
    finally:
        second.kill()
        second.wait()
    assert_alike(whole, together)
    assert together[0].facts["nodes"] == "2"


def test_nodes_that_cannot_meet_are_told_what_is_missing(train, monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.delenv("MASTER_PORT", raising=False)
    said = "a run on 2 nodes needs NODE_RANK, MASTER_PORT in the environment of each node's process"
    with pytest.raises(UserError, match=said):
        train("nodes", replace(TASK, nodes=2))


@pytest.mark.slow
def test_shared_weights_are_kept_and_evaluated_whole(tmp_path):
    found = {}
    for name, task in (("whole", LLAMA), ("shared", replace(LLAMA, **SHARDED))):
        record, run = Record(tmp_path / name), Run(task=task, variant=DYT)
        record.begin(run, {})
        result = train_run(run, record, lambda event: None, keep_weights=True)
        found[name] = result, torch.load(record.weights_path, weights_only=True)
    (whole, weights), (shared, own) = found["whole"], found["shared"]
    assert weights.keys() == own.keys()
    for key, value in weights.items():
        torch.testing.assert_close(own[key], value, rtol=1e-3, atol=1e-5)
    for key, value in whole.summary.items():
        if key.startswith("reference/"):
            assert shared.summary[key] == value
    assert "eval/copy_0shot" in shared.summary


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "changes"),
    [
        (TASK, {"micro_batch": 4}),
        (TASK, TOGETHER),
        pytest.param(LLAMA, SHARDED, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_divided_run_resumes_to_the_bit(train, task, changes):
    task = replace(task, steps=6, val_every=3, **changes)
    whole, record = train("whole", task)

    class Cut(Exception):
        pass

    cut = Record(record.folder.parent / "cut")
    cut.begin(Run(task=task, variant=Variant(name="dyt")), {})

    def tell(event):
        if event.get("step") == 4:
            raise Cut

    with pytest.raises(Cut):
        train_run(
            Run(task=task, variant=Variant(name="dyt")),
            cut,
            tell,
            evaluate=False,
            checkpoint_every_s=0,
        )
    resumed, _ = train("cut", task, checkpoint_every_s=0)
    assert resumed.facts["resumed"]
    assert resumed.last == whole.last
    assert resumed.facts["batches"] == whole.facts["batches"]


def limited(monkeypatch, most):
    """A device whose memory holds the step of ``most`` samples."""
    from dyt_vision.module import Classifier

    honest = Classifier.training_step

    def step(self, batch, index):
        if len(batch[0]) > most:
            raise torch.OutOfMemoryError("out of memory")
        return honest(self, batch, index)

    monkeypatch.setattr(Classifier, "training_step", step)


def test_auto_takes_the_most_that_fits(train, monkeypatch, capsys):
    limited(monkeypatch, 5)
    result, _ = train("auto", replace(TASK, micro_batch="auto", steps=2, val_every=1))
    assert result.status == "finished"
    assert result.facts["micro_batch"] == "4"
    assert "micro_batch: auto takes 4 of a process's 16 samples at once" in capsys.readouterr().out


def test_auto_says_where_nothing_fits(monkeypatch):
    limited(monkeypatch, 0)
    parts = resolve(Run(task=replace(TASK, micro_batch="auto")))
    with pytest.raises(UserError, match=r"auto found no size that fits: not one sample of vision/"):
        micro.largest(parts)


def test_sizes_are_halved_and_divide():
    assert list(micro.halved(96)) == [96, 48, 24, 12, 6, 3, 1]
    assert list(micro.halved(15)) == [15, 5, 1]


def test_a_loader_that_cannot_divide_is_named():
    from lightning.pytorch import LightningDataModule

    parts = resolve(Run(task=replace(TASK, micro_batch=4)))
    with pytest.raises(DataError, match="SeededDataModule, which divides batches, got a Lightning"):
        micro.divide(LightningDataModule(), parts)
