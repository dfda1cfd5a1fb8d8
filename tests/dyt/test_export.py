"""Whole models exported: they run where dyt is not installed, in PyTorch's and in ONNX's format."""

import subprocess
import sys

import pytest
import torch
from tests.dyt._surgery.models import new, trained
from torch import nn

import dyt

# Runs a program in a process that cannot import dyt.
ELSEWHERE = """
import sys
sys.modules["dyt"] = None
import torch
x, y = torch.load("case.pt", weights_only=True)
found = torch.export.load("model.pt2").module()(x)
torch.testing.assert_close(found if isinstance(found, torch.Tensor) else found[0], y)
"""


class Logits(nn.Module):
    """A language model whose output is one tensor."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids):
        return self.model(input_ids=ids, use_cache=False).logits


def models():
    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 4))
    yield "block", block, torch.randn(3, 8)
    yield "vit", new("vit"), torch.randn(2, 3, 32, 32)
    yield "llama", Logits(new("llama")), torch.arange(16).view(2, 8)


CASES = {name: (model, x) for name, model, x in models()}


def exported(name, to="dyt"):
    model, x = CASES[name]
    model = trained(dyt.convert(model, to)).eval()
    try:
        with torch.no_grad():
            y = model(x)
            program = torch.export.export(model, (x,))
    finally:
        dyt.revert(model)
    return program, x, y


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_model_runs_where_dyt_is_not_installed(name, tmp_path):
    program, x, y = exported(name)
    torch.export.save(program, tmp_path / "model.pt2")
    torch.save((x, y), tmp_path / "case.pt")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ELSEWHERE],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("to", ["dyt", "derf"])
def test_the_graph_is_core_aten(to):
    """What ExecuTorch and other back ends take."""
    program, _, _ = exported("block", to)
    core = program.run_decompositions()
    targets = {node.target for node in core.graph.nodes if node.op == "call_function"}
    assert targets
    assert all(torch.Tag.core in target.tags for target in targets), targets


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_onnx_computes_the_same(name, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    program, x, y = exported(name)
    file = str(tmp_path / "model.onnx")
    torch.onnx.export(program, (), file, dynamo=True, verbose=False)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("to", ["dyt", "derf"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_functions_of_the_papers_are_onnx_operators(to, tmp_path):
    pytest.importorskip("onnxscript")
    program, _, _ = exported("block", to)
    made = torch.onnx.export(program, (), dynamo=True, verbose=False)
    kinds = {node.op_type for node in made.model.graph}
    assert {"dyt": "Tanh", "derf": "Erf"}[to] in kinds
    assert not any("dyt" in node.domain for node in made.model.graph)
