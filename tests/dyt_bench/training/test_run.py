"""Training a run for real: the same start and batches for every variant, the same bits twice."""

import json
import math
from dataclasses import replace

import pytest

from dyt import alphas
from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.resolve import resolve
from dyt_bench.plugin.task import Run, Task, Variant
from dyt_bench.records.record import Record
from dyt_bench.scheduling.jobs import time_task, train_run
from dyt_bench.training.build import build, weights_digest

TASK = Task(
    domain="vision",
    model="convnext",
    dataset="digits",
    steps=6,
    batch_size=8,
    learning_rate=1e-3,
    val_every=3,
)
DYT = Variant(name="dyt")


@pytest.fixture
def train(tmp_path):
    def ran(run, folder="run"):
        record = Record(tmp_path / folder)
        record.begin(run, {})
        news = []
        return train_run(run, record, news.append), record, news

    return ran


def test_a_run_records_what_the_report_needs(train):
    result, record, news = train(Run(task=TASK, variant=DYT))
    assert result.status == "finished"
    rows = record.rows()
    assert [row["step"] for row in rows if "train/loss" in row] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows if "val/acc" in row] == [0, 3, 6]
    assert [event["step"] for event in news] == [row["step"] for row in rows]
    assert result.first["step"] == 0
    assert result.last["step"] == 6
    assert result.summary["model/norms_replaced"] == len(result.alpha) == len(result.saturation)
    assert result.summary["time/units_per_s"] > 0
    assert result.summary["memory/peak_mib"] > 100
    data, _, _ = build(resolve(Run(task=TASK)))
    assert result.summary["data/samples"] == len(data.train)


def test_norms_share_start_and_batches(train):
    native, _, _ = train(Run(task=TASK))
    swapped, _, _ = train(Run(task=TASK, variant=DYT))
    other_seed, _, _ = train(Run(task=replace(TASK, seed=1)))
    for digest in ("weights", "batches"):
        assert native.facts[digest] == swapped.facts[digest] != other_seed.facts[digest]
    assert native.summary["model/norms_replaced"] == 0
    assert native.alpha == {}


def test_the_same_run_twice_is_the_same_to_the_bit(train):
    first, _, _ = train(Run(task=TASK, variant=DYT), "first")
    second, _, _ = train(Run(task=TASK, variant=DYT), "second")
    assert first.last == second.last
    assert first.alpha == second.alpha


def test_alpha_is_chosen_by_value_or_recipe(train):
    frozen = replace(TASK, learning_rate=1e-12)
    given, _, _ = train(Run(task=frozen, variant=Variant(name="dyt", alpha_init_value=0.8)))
    assert list(given.alpha.values()) == pytest.approx([0.8] * len(given.alpha))
    ruled, _, _ = train(Run(task=frozen, variant=Variant(name="dyt", recipe="swap-only")))
    assert list(ruled.alpha.values()) == pytest.approx([0.5] * len(ruled.alpha))


@pytest.mark.parametrize(
    ("domain", "same_weights", "replaced"), [("llm", True, 9), ("diffusion", False, 9)]
)
def test_a_papers_recipe_changes_the_model_around_the_norms(domain, same_weights, replaced):
    found = discover().domain(domain)
    name, model = next(iter(found.models.items()))
    task = replace(
        TASK, domain=domain, model=name, dataset=next(iter(found.datasets)), batch_size=2
    )
    _, native, norms = build(resolve(Run(task=task)))
    _, paper, _ = build(resolve(Run(task=task, variant=Variant(name="dyt", recipe="paper"))))
    assert len(alphas(paper)) == len(norms) == replaced, model.summary
    assert (weights_digest(native, norms) == weights_digest(paper, norms)) == same_weights
    scales = [name for name in paper.state_dict() if name.endswith("embed_tokens.scale")]
    assert len(scales) == (domain == "llm")


def test_divergence_is_a_result_with_its_step(train, monkeypatch):
    from dyt_vision.module import Classifier

    honest = Classifier.training_step

    def explode(self, batch, index):
        return honest(self, batch, index) * (math.nan if self.global_step == 3 else 1)

    monkeypatch.setattr(Classifier, "training_step", explode)
    result, record, _ = train(Run(task=TASK))
    assert result.status == "diverged"
    assert result.reason == "the loss became nan at step 4"
    assert result.last["step"] == 3
    assert all(math.isfinite(value) for row in record.rows() for value in row.values())
    left = json.loads((record.artifacts / "last_steps.json").read_text())
    assert [step["step"] for step in left] == [1, 2, 3, 4]
    assert math.isnan(left[-1]["loss"])
    assert all(step["gradient_norm"] > 0 and step["rate"] > 0 for step in left[:3])


def test_rate_gradient_and_alpha_are_followed(train):
    result, record, _ = train(Run(task=TASK, variant=DYT))
    steps = [row for row in record.rows() if "train/loss" in row]
    assert all(row["train/gradient_norm"] > 0 for row in steps)
    assert max(row["train/learning_rate"] for row in steps) == pytest.approx(TASK.learning_rate)
    assert all(row["alpha/mean"] == pytest.approx(0.5, abs=0.05) for row in steps)
    for row in record.rows():
        if "val/acc" in row:
            layers = [name for name in row if name.startswith("alpha/")]
            assert len(layers) == len(result.alpha) > 0
            assert 0 <= row["saturation/mean"] <= 1


def test_what_training_draws_does_not_depend_on_validations(train):
    """Nor, so, on where it was cut off: noise is of a step, not of a stream."""
    task = replace(TASK, domain="speech", model="wav2vec2", dataset="clips", batch_size=2)
    often, seldom = (
        train(Run(task=replace(task, val_every=every)), str(every))[1].rows() for every in (1, 6)
    )
    losses = [
        [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row]
        for rows in (often, seldom)
    ]
    assert losses[0] == losses[1]


def test_batches_are_known_by_their_samples_and_the_first_by_their_content(train, monkeypatch):
    from dyt_bench.training import trainer

    whole, _, _ = train(Run(task=TASK), "whole")
    monkeypatch.setattr(trainer, "CONTENT_STEPS", 0)
    indices, _, _ = train(Run(task=TASK), "indices")
    assert whole.facts["batches"] != indices.facts["batches"]
    monkeypatch.setattr(trainer, "as_bytes", None)  # so nothing of the batches is read
    again, _, _ = train(Run(task=TASK, variant=DYT), "again")
    assert again.facts["batches"] == indices.facts["batches"]
    other, _, _ = train(Run(task=replace(TASK, seed=1)), "other")
    assert other.facts["batches"] != indices.facts["batches"]


def test_timing_takes_every_norm_in_turn():
    seconds = time_task(TASK, [Variant(), DYT], rounds=2)
    assert set(seconds) == {"native", "A/A", "dyt"}
    assert all(len(rounds) == 2 and min(rounds) > 0 for rounds in seconds.values())


@pytest.mark.slow
def test_compiled_steps_are_compiled_for_each_variant():
    from torch._dynamo.utils import counters

    counters.clear()
    seconds = time_task(TASK, [Variant(), DYT], rounds=3, compile=True)
    assert set(seconds) == {"native", "A/A", "dyt"}
    assert counters["frames"]["ok"] >= 2  # the native copy shares what its original compiled
    before = dict(counters["frames"])
    time_task(TASK, [Variant(), DYT], rounds=3)
    assert dict(counters["frames"]) == before  # the eager ones compile nothing
