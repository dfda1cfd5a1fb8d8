"""What dyt.load refuses, and that it leaves a model as it was."""

import json
import sys

import pytest
import torch
from tests.dyt._surgery.models import new
from torch import nn

import dyt


def build(width=8):
    return nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))


@pytest.fixture
def folder(tmp_path):
    dyt.save(dyt.convert(build()), tmp_path)
    return tmp_path


def change(folder, **entries):
    plan = json.loads((folder / "dyt.json").read_text())
    (folder / "dyt.json").write_text(json.dumps({**plan, **entries}))


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({}, "has neither dyt.json nor a plan in config.json"),
        ({"config.json": '{"architectures": ["LlamaForCausalLM"]}'}, "has neither"),
        ({"dyt.json": "[]"}, "has neither"),
        ({"dyt.json": "no json"}, "has neither"),
    ],
)
def test_a_folder_that_is_no_checkpoint(files, what, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f"no checkpoint of a converted model: it {what}"):
        dyt.load(tmp_path, build())


def test_a_name_that_is_no_folder():
    with pytest.raises(ValueError, match=r"'org/model' is no checkpoint .*: it is no folder"):
        dyt.load("org/model")


def test_a_plan_of_a_newer_schema(folder):
    change(folder, schema=2, dyt="9.0")
    with pytest.raises(ValueError, match=r"by dyt 9.0, .* schema 2, .* up to 1: upgrade dyt-core"):
        dyt.load(folder, build())


def test_safetensors_missing(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ImportError, match=r"pip install 'dyt-core\[hub\]'"):
        dyt.load(folder, build())


def test_weights_missing(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"no weights: it lacks model\.safetensors"):
        dyt.load(folder, build())


def test_weights_cut_off(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"model\.safetensors' cannot be read"):
        dyt.load(folder, build())


@pytest.mark.parametrize(
    ("model", "what"),
    [
        (nn.Sequential(nn.Linear(8, 8)), "it has no module '1', which was a LayerNorm"),
        (
            nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)),
            "'1' is a Linear and was a LayerNorm",
        ),
        (build(4), "its '1' is a LayerNorm and was a LayerNorm with other parameters"),
        (nn.Sequential(*build(), nn.Linear(8, 8)), "the checkpoint lacks 2.bias, 2.weight"),
        (nn.Sequential(nn.Identity(), nn.LayerNorm(8)), "the model lacks 0.bias, 0.weight"),
        (nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8)), "of another shape is 0.weight"),
    ],
)
def test_another_model(folder, model, what):
    before = list(model.modules())
    values = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match=f"Sequential is another model than was saved: .*{what}"):
        dyt.load(folder, model)
    assert list(model.modules()) == before
    assert all(torch.equal(v, values[k]) for k, v in model.state_dict().items())


def test_a_converted_model(folder):
    with pytest.raises(ValueError, match="Sequential is converted already"):
        dyt.load(folder, dyt.convert(build()))


def test_a_model_without_values(folder):
    with pytest.raises(ValueError, match="on the meta device: build it on a real one"):
        dyt.load(folder, build().to("meta"))


def test_a_folder_that_names_no_class(folder):
    with pytest.raises(ValueError, match="pass the model too, newly built"):
        dyt.load(folder)
    (folder / "config.json").write_text('{"architectures": ["OwnModel"]}')
    with pytest.raises(ValueError, match="transformers has no model 'OwnModel': pass the model"):
        dyt.load(folder)


def test_options_are_for_from_pretrained(folder):
    with pytest.raises(ValueError, match=r"\['device_map'\] are for a model that dyt.load builds"):
        dyt.load(folder, build(), device_map="cpu")


def test_a_library_s_checkpoint_with_a_weight_too_few(tmp_path):
    from safetensors.torch import load_file, save_file

    dyt.convert(new("llama")).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.norm.alpha"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"the checkpoint lacks model\.norm\.alpha"):
        dyt.load(tmp_path)


def test_a_dtype_that_is_asked_for(tmp_path):
    dyt.convert(new("llama")).save_pretrained(tmp_path)
    model = dyt.load(tmp_path, dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
