"""A gradual swap in the harness: it starts as native, resumes to the bit, and is saved plainly."""

import json
import signal
from contextlib import nullcontext

import pytest
import torch

import dyt
from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.resolve import resolve
from dyt_bench.executors.contract import JobStopped
from dyt_bench.plugin.task import Run, Variant
from dyt_bench.records.record import Record
from dyt_bench.records.weights import load_weights, save_model
from dyt_bench.scheduling.jobs import train_run
from dyt_bench.training.build import build, weights_digest

GRADUAL = Variant(name="dyt", recipe="gradual")
STEPS = 20  # of which steps 2 to 12 change the five norms of the model
pytestmark = pytest.mark.filterwarnings("ignore::dyt.CalibrationWarning")


@pytest.fixture
def moods(task, bert, reviews):
    return task(
        checkpoint=bert,
        path=reviews,
        options={"label": "mood"},
        steps=STEPS,
        val_every=STEPS // 2,
        code_digest=discover().code_digest("pretrained"),
    )


@pytest.fixture
def train(moods, tmp_path):
    def trained(folder, variant=GRADUAL, stop_at=()):
        """A record of the run; cut off after each of the steps, and resumed."""
        run, record = Run(task=moods, variant=variant), Record(tmp_path / folder)
        record.begin(run, {})
        for step in (*stop_at, None):

            def stop(event, step=step):
                if event["event"] == "row" and event["step"] == step:
                    signal.raise_signal(signal.SIGTERM)

            with pytest.raises(JobStopped) if step else nullcontext():
                result = train_run(run, record, stop, keep_weights=True)
        return result, record

    return trained


def weights(record):
    return torch.load(record.weights_path, weights_only=True)


def numbers(record):
    """Rows without times, and without what is about the layers in the norms' places."""
    left = ("time", "system", "alpha", "saturation")
    return [
        {name: value for name, value in row.items() if name.partition("/")[0] not in left}
        for row in record.rows()
    ]


def test_the_first_steps_are_the_native_models(train):
    native, first = train("native", Variant())
    gradual, second = train("gradual")
    assert native.facts["weights"] == gradual.facts["weights"]
    assert native.facts["batches"] == gradual.facts["batches"]
    assert gradual.summary["model/norms_replaced"] == 5
    before, after = (
        [row["train/loss"] for row in numbers(r) if "train/loss" in row] for r in (first, second)
    )
    assert before[:3] == after[:3]
    assert before[-1] != after[-1]


@pytest.mark.slow  # six seconds; the harness's own resumption is in the fast tests
def test_a_run_that_is_cut_off_in_the_middle_of_turns_resumes_to_the_bit(train):
    whole, first = train("whole")
    cut, second = train("cut", stop_at=(1, 5, 8, 13))
    assert cut.facts["resumed"].count(",") == 3
    assert numbers(first) == numbers(second)
    assert whole.last == cut.last
    found, expected = weights(second), weights(first)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    gates = [value.item() for name, value in found.items() if name.endswith(".gate")]
    assert gates == [0.0] * 5


def test_the_saved_model_is_an_ordinary_converted_one(train, tmp_path):
    _, record = train("saved")
    module = load_weights(record)
    save_model(record, tmp_path / "model")
    plan = json.loads((tmp_path / "model/config.json").read_text())["dyt"]
    assert {site["layer"] for site in plan["sites"]} == {"DynamicTanh"}
    loaded, ids = dyt.load(tmp_path / "model"), torch.randint(5, 21, (4, 9))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    assert torch.equal(loaded(**inputs).logits, module(inputs))
    assert not any(isinstance(part, dyt.Gradual) for part in loaded.modules())


def test_layers_are_fitted_to_the_trained_norms_before_it_starts(moods):
    _, native, norms = build(resolve(Run(task=moods)))
    _, gradual, _ = build(resolve(Run(task=moods, variant=GRADUAL)))
    assert weights_digest(native, norms) == weights_digest(gradual, norms)
    assert set(dyt.alphas(gradual)) == {f"{norm}.layer" for norm in norms}
    assert set(dyt.alphas(gradual).values()) != {0.5}
