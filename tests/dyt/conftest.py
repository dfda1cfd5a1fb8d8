"""The ways into the CPU kernels: through Python, and through the compiled binding."""

import sys

import pytest
import torch

import dyt
from dyt import _ops as ops


@pytest.fixture(autouse=True)
def only_where_a_test_binds(monkeypatch):
    """What another run or another test bound must not decide which way is tested."""
    monkeypatch.setattr(ops, "sought", True)
    monkeypatch.setattr(ops, "bound", None)


@pytest.fixture(autouse=True)
def only_what_a_test_compiles():
    """A function is compiled eight times at most, and all layers of a class share theirs."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


def _bind(monkeypatch):
    monkeypatch.setattr(ops, "bound", None)  # and whatever it was before comes back
    if (reason := dyt.bind()) is not None:
        pytest.skip(f"no binding: {reason}")


@pytest.fixture
def bound(monkeypatch):
    _bind(monkeypatch)


@pytest.fixture(params=["python", "bound"])
def way(request, monkeypatch):
    monkeypatch.setattr(ops, "bound", None)
    if request.param == "bound":
        _bind(monkeypatch)
    return request.param
