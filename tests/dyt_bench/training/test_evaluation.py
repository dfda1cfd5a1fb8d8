"""Metrics taken once: the domain's, and those that packages add."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from dyt_bench.plugin.domain import Reference
from dyt_bench.plugin.extensions import AddedMetric
from dyt_bench.plugin.parts import Parts
from dyt_bench.plugin.task import Run, Task
from dyt_bench.records.record import Record, Result
from dyt_bench.training.evaluation import evaluate
from dyt_bench.training.references import references
from dyt_tiny import Tiny

TASK = Task(
    domain="tiny",
    model="line",
    dataset="noise",
    steps=2,
    batch_size=8,
    learning_rate=1.0,
    val_every=1,
)


class Measured(Tiny):
    def evaluate(self, task, module, data, folder):
        assert folder.is_dir()
        return {"own": 1}

    def reference_score(self, task, data):
        return 2.0


def fail(trained):
    raise RuntimeError("out of luck")


CPU = torch.device("cpu")
METRICS = {
    "weights": lambda trained: trained.module.weight.sum(),  # a tensor is a number, too
    "rows": lambda trained: trained.rows[-1]["val/loss"] + len(trained.data) + trained.task.steps,
    "failing": fail,
    "nan": lambda trained: math.nan,
    "own": lambda trained: 3.0,
}


@pytest.fixture
def evaluated(tmp_path):
    added = {
        name: AddedMetric(title=name, mode="min", compute=compute)
        for name, compute in METRICS.items()
    }
    task = replace(TASK, metrics=tuple((name, "") for name in METRICS))
    record = Record(tmp_path / "run")
    record.begin(Run(task=task), {})
    record.append(2, {"val/loss": 0.5})
    module = nn.Linear(2, 2)
    nn.init.ones_(module.weight)
    parts = Parts(domain=Measured(), task=task, metrics=added)
    return evaluate(parts, module, ["batch"], record, CPU)


def test_each_is_recorded_by_its_name(evaluated):
    assert evaluated.methods == {"reference": "reference score"}
    assert evaluated.values == {
        "eval/own": 1.0,
        "reference/val/loss": 2.0,
        "eval/weights": 4.0,
        "eval/rows": 3.5,
    }


def test_one_that_fails_is_said_and_the_others_are_there(evaluated, capsys):
    missing = evaluated.missing
    assert missing == {
        "eval/failing": "RuntimeError: out of luck",
        "eval/nan": "ValueError: it is nan",
        "eval/own": "ValueError: the domain has a metric 'own' of its own",
    }
    sentences = Result(status="finished", started=0, ended=0, facts=missing).missing
    assert sentences[0] == "metric 'failing' could not be taken: RuntimeError: out of luck"


def test_the_traceback_is_in_the_runs_log(request, capfd):
    request.getfixturevalue("evaluated")
    assert "in fail\n" in capfd.readouterr().err


def test_a_model_that_only_several_devices_hold_keeps_its_result(tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("60 GiB")

    monkeypatch.setattr(Measured, "evaluate", full)
    record = Record(tmp_path / "run")
    record.begin(Run(task=TASK), {})
    found = evaluate(Parts(domain=Measured(), task=TASK), nn.Linear(2, 2), [], record, CPU)
    assert found.missing == {"eval/of the domain": "OutOfMemoryError: 60 GiB"}
    assert found.values == {"reference/val/loss": 2.0}


class Compared(Tiny):
    """Counts how often simple methods are fitted."""

    found = (Reference("the mean", 3.0, "blind"), Reference("1-NN", 1.0, "strong"))
    fitted = 0

    def references(self, task, data):
        self.fitted += 1
        return self.found


def test_a_reference_is_recorded_by_its_role_with_its_method(tmp_path):
    record = Record(tmp_path / "run")
    record.begin(Run(task=TASK), {})
    found = evaluate(Parts(domain=Compared(), task=TASK), nn.Linear(2, 2), [], record, CPU)
    assert found.values == {"blind/val/loss": 3.0, "strong/val/loss": 1.0}
    assert found.methods == {"blind": "the mean", "strong": "1-NN"}


def test_two_references_of_one_role_are_refused():
    domain = Compared()
    domain.found = (*domain.found, Reference("the median", 2.0, "blind"))
    with pytest.raises(ValueError, match="at most one a role, got 2 that are 'blind'"):
        references(domain, TASK, [])


def test_methods_are_fitted_once_for_all_budgets_and_rates(tmp_path, monkeypatch):
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path))
    domain, known = Compared(), replace(TASK, data_digest="d", code_digest="c")
    longer = replace(known, steps=4, learning_rate=0.1, overrides="lr=0.1")
    assert references(domain, known, []) == references(domain, longer, []) == [*domain.found]
    assert domain.fitted == 1
    references(domain, replace(known, data_digest="another"), [])
    references(domain, replace(known, train_samples=5), [])
    assert domain.fitted == 3
    references(domain, TASK, [])  # nothing says what its data are
    references(domain, TASK, [])
    assert domain.fitted == 5
