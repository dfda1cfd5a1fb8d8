"""What a logged model's file may hold: tensors, and never something to call."""

import os
import pickle

import pytest
import torch

from dyt_bench.errors import UserError
from dyt_bench.tracking import unpickler
from dyt_bench.tracking.models import write_model

from .conftest import a_run, result


class Evil:
    def __reduce__(self):
        return os.mkdir, ("was-run",)


@pytest.mark.parametrize("content", [Evil(), {"run": "{}", "weights": {"a": Evil()}}])
def test_a_file_that_calls_something_is_refused(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(content, "model.pth")
    with pytest.raises(pickle.UnpicklingError, match=r"tensors alone, got posix\.mkdir"):
        torch.load("model.pth", pickle_module=unpickler)
    assert not os.path.exists("was-run")


@pytest.fixture
def written(begin, tmp_path):
    """A folder with a model of made-up weights, and the weights."""
    record = begin(a_run("dyt"))
    weights = {
        "half": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3),
        "count": torch.tensor(3),
        "mask": torch.tensor([True, False]),
    }
    torch.save(weights, record.weights_path)
    record.finish(result(a_run("dyt")))
    folder = tmp_path / "model"
    folder.mkdir()
    write_model(record, folder, "m-1")
    return folder, weights


def test_its_state_dict_is_read_without_us(written):
    folder, weights = written
    content = torch.load(folder / "data/model.pth", weights_only=True)
    assert content["weights"].keys() == weights.keys()
    for name, value in weights.items():
        assert content["weights"][name].dtype == value.dtype
        assert torch.equal(content["weights"][name], value)


def test_mlflow_loads_it_by_our_unpickler(written, monkeypatch):
    """Up to the rebuilding, of which `tests/dyt_bench/records/test_weights.py` tells."""
    from mlflow import pytorch

    folder, weights = written

    class Rebuilt:
        def __init__(self, about, state, source):
            self.label, self.state = about["label"], state

        def eval(self):
            return self

    def rebuilt(about, state, source):
        return None, None, Rebuilt(about, state, source)

    monkeypatch.setattr("dyt_bench.records.weights.rebuilt", rebuilt)
    module = pytorch.load_model(str(folder))
    assert module.label == a_run("dyt").label
    assert {name: value.tolist() for name, value in module.state.items()} == {
        name: value.tolist() for name, value in weights.items()
    }


def test_a_model_of_other_code_is_one_sentence(written):
    folder, _ = written
    with pytest.raises(UserError, match=r"^this model was made by another version of the code"):
        torch.load(folder / "data/model.pth", pickle_module=unpickler)
