"""Converted models that are saved and loaded, by dyt's functions and by the libraries' calls."""

import copy
import json
import pickle
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from tests.dyt._surgery.models import BUILT_BY_CONFIG, IDS, NAMES, batch, new, output, trained
from torch import nn

import dyt
from dyt._surgery.saving import MARK
from dyt.rivals import Method


def same(one, other):
    """Whether two models have the same values in the same dtypes."""
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(
        torch.equal(one[k], other[k]) and one[k].dtype == other[k].dtype for k in one
    )


class Lone(nn.Module):
    """Every kind of layer and wrapper that convert makes, and shared ones."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 8)
        self.norms = nn.ModuleList([nn.LayerNorm(8), nn.LayerNorm(8, bias=False), nn.RMSNorm(8)])
        self.norms.append(self.norms[0])  # one module under two names
        self.norms.append(nn.LayerNorm(8, elementwise_affine=False))
        tied = nn.LayerNorm(8)
        tied.bias = self.norms[0].bias
        self.norms.append(tied)
        self.register_buffer("table", torch.linspace(0, 1, 8) / 3, persistent=False)

    def forward(self, ids):
        x = self.embedding(ids) + self.table
        for norm in self.norms:
            x = norm(2 * x)
        return x


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_a_library_s_model_comes_back_bit_for_bit(name, dtype, tmp_path):
    model = trained(dyt.convert(new(name), "dyt").to(dtype))
    dyt.save(model, tmp_path)
    found = dyt.load(tmp_path, None if name in BUILT_BY_CONFIG else new(name))
    assert type(found) is type(model)
    assert same(found, model)
    assert torch.equal(output(found, name), output(model, name))


@pytest.mark.parametrize("name", ["llama", "dit", "vit"])
def test_a_loaded_model_may_be_saved_where_it_came_from(name, tmp_path):
    build = (lambda: None) if name in BUILT_BY_CONFIG else (lambda: new(name))
    dyt.save(dyt.convert(new(name), "dyt").bfloat16(), tmp_path)
    model = trained(dyt.load(tmp_path, build()))
    expected = output(model, name)
    dyt.save(model, tmp_path)
    assert torch.equal(output(model, name), expected)
    assert torch.equal(output(dyt.load(tmp_path, build()), name), expected)


def test_a_model_of_which_a_part_was_converted_is_saved(tmp_path):
    model = new("llama")
    dyt.convert(model.model.layers[0])
    dyt.save(trained(model), tmp_path)
    assert torch.equal(output(dyt.load(tmp_path), "llama"), output(model, "llama"))


def test_a_part_saves_itself(tmp_path):
    whole = nn.ModuleDict({"inner": new("bert")})
    trained(dyt.convert(whole))
    whole["inner"].save_pretrained(tmp_path)
    assert same(dyt.load(tmp_path), whole["inner"])


def test_values_of_two_dtypes_keep_them(tmp_path):
    model = dyt.convert(new("llama")).bfloat16()
    model.model.norm.float()
    dyt.save(trained(model), tmp_path)
    assert same(dyt.load(tmp_path), model)


def test_an_encoder_s_layers_are_called_after_loading(tmp_path):
    def build():
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        return nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).eval()

    model = trained(dyt.convert(build()))
    dyt.save(model, tmp_path)
    x = torch.randn(2, 3, 16)
    with torch.no_grad():
        assert torch.equal(dyt.load(tmp_path, build())(x), model(x))


@pytest.mark.parametrize("name", BUILT_BY_CONFIG)
def test_save_pretrained_of_a_converted_model_writes_the_plan(name, tmp_path):
    model = trained(dyt.convert(new(name), "derf"))
    model.save_pretrained(tmp_path)
    assert torch.equal(output(dyt.load(tmp_path), name), output(model, name))
    assert not hasattr(model.config, "dyt")  # another model may have the configuration too
    again = tmp_path / "again"
    dyt.load(tmp_path).save_pretrained(again)
    assert torch.equal(output(dyt.load(again), name), output(model, name))


@pytest.mark.parametrize("name", ["llama-tied", "gpt2"])
def test_a_tied_model_stays_tied(name, tmp_path):
    dyt.save(dyt.convert(new(name)), tmp_path)
    found = dyt.load(tmp_path)
    assert found.get_output_embeddings().weight is found.get_input_embeddings().weight


@pytest.mark.parametrize("name", ["llama", "llama-tied", "bert"])
def test_factors_of_embeddings_come_back(name, tmp_path):
    model = dyt.convert(new(name), "dyt", recipe="calibrated")
    dyt.calibrate(model, [IDS], goal="start")
    dyt.save(model, tmp_path)
    found = dyt.load(tmp_path)
    assert any(isinstance(module, dyt.ScaledEmbedding) for module in found.modules())
    assert same(found, model)
    assert torch.equal(output(found, name), output(model, name))


def test_parts_of_a_checkpoint_are_loaded_together(tmp_path):
    model = trained(dyt.convert(new("llama")))
    dyt.save(model, tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert same(dyt.load(tmp_path), model)
    assert same(dyt.load(tmp_path, new("llama")), model)


@pytest.mark.slow
def test_a_fresh_process_loads_the_same(tmp_path):
    """Every library's model, in both dtypes; one process, as its imports take seconds."""
    for name in BUILT_BY_CONFIG:
        for dtype in (torch.float32, torch.bfloat16):
            folder = tmp_path / f"{name}-{dtype}"
            model = trained(dyt.convert(new(name), "dyt", recipe="paper").to(dtype))
            dyt.save(model, folder)
            given = {k: v.to(dtype) if v.is_floating_point() else v for k, v in batch(name).items()}
            torch.save((given, output(model, name)), folder / "case")
    code = (
        "import sys, torch, dyt\n"
        "for folder in sys.argv[1:]:\n"
        "    given, expected = torch.load(folder + '/case', weights_only=True)\n"
        "    with torch.no_grad():\n"
        "        assert torch.equal(dyt.load(folder)(**given)[0], expected), folder\n"
    )
    folders = sorted(map(str, tmp_path.iterdir()))
    assert len(folders) == 2 * len(BUILT_BY_CONFIG)
    subprocess.run([sys.executable, "-W", "error", "-c", code, *folders], check=True)


# A method needs a model that it is for: test_rivals.py.
LAYERS = [name for name, build in dyt.variants.VARIANTS.items() if not isinstance(build, Method)]
WITHOUT_BIAS = {"identity", "rmsnorm", "seednorm", "bhyt"}


@pytest.mark.parametrize("to", LAYERS)
def test_any_module_comes_back_with_every_variant(to, tmp_path):
    torch.manual_seed(0)
    model = trained(dyt.convert(Lone(), to)).bfloat16()
    dyt.save(model, tmp_path)
    found = dyt.load(tmp_path, Lone())
    assert found.norms[3] is found.norms[0]
    assert [type(norm) for norm in found.norms] == [type(norm) for norm in model.norms]
    if to not in WITHOUT_BIAS:
        assert found.norms[5].bias is found.norms[0].bias
    assert same(found, model)
    assert found.table.dtype == torch.bfloat16
    assert torch.equal(found(IDS % 10), model(IDS % 10))


def test_a_norm_with_an_activation_comes_back(tmp_path):
    from timm.layers import LayerNormAct2d

    def build():
        return nn.Sequential(nn.Conv2d(3, 8, 1), LayerNormAct2d(8, act_layer=nn.PReLU))

    model = trained(dyt.convert(build(), "dyt"))
    dyt.save(model, tmp_path)
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(dyt.load(tmp_path, build())(x), model(x))


def test_a_layer_that_is_the_root_comes_back(tmp_path):
    layer = trained(dyt.convert(nn.LayerNorm(8), "derf"))
    dyt.save(layer, tmp_path)
    assert same(dyt.load(tmp_path, nn.LayerNorm(8)), layer)


def test_the_plan_is_readable(tmp_path):
    dyt.save(dyt.convert(nn.Sequential(nn.LayerNorm(8)), alpha_init_value=0.7), tmp_path)
    plan = json.loads((tmp_path / "dyt.json").read_text())
    assert plan["schema"] == 1
    assert plan["sites"] == [
        {
            "names": ["0"],
            "replaces": "LayerNorm",
            "parameters": [8, 8],
            "activation": [],
            "layer": "DynamicTanh",
            "normalized_shape": [8],
            "channels_last": True,
            "weight": True,
            "bias": True,
            "function": "tanh",
            "alpha_init_value": 0.7,
            "shift_init_value": None,
        }
    ]


def test_a_loader_without_the_plan_is_told_what_to_call(tmp_path):
    dyt.save(dyt.convert(Lone()), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    with pytest.raises(RuntimeError, match=r"converted_by_dyt\.load_with_dyt\.load"):
        Lone().load_state_dict(weights)
    assert MARK in Lone().load_state_dict(weights, strict=False).unexpected_keys


def test_a_library_without_the_plan_lists_what_to_call(tmp_path):
    model = dyt.convert(new("llama"))
    model.save_pretrained(tmp_path)
    _, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert MARK in info["unexpected_keys"]


def test_a_converted_model_takes_the_weights_without_a_word(tmp_path):
    model = trained(dyt.convert(new("bert")))
    model.save_pretrained(tmp_path, state_dict=model.state_dict())  # as transformers' Trainer does
    weights = load_file(tmp_path / "model.safetensors")
    assert MARK in weights
    tied = {k: v for k, v in model.state_dict().items() if k not in weights}
    for twin in (dyt.convert(new("bert")), nn.ModuleDict({"inner": dyt.convert(new("bert"))})):
        prefix = "inner." if isinstance(twin, nn.ModuleDict) else ""
        twin.load_state_dict({prefix + k: v for k, v in (weights | tied).items()}, strict=True)
    assert same(twin["inner"], model)


def test_state_dicts_are_as_before_and_revert_takes_all_away(tmp_path):
    model = new("llama")
    keys = set(model.state_dict())
    dyt.convert(model)
    assert all(k.endswith(".alpha") for k in set(model.state_dict()) - keys)
    torch.save(model.state_dict(), tmp_path / "state.pt")
    twin = dyt.convert(new("llama"))
    twin.load_state_dict(torch.load(tmp_path / "state.pt"), strict=True)
    assert same(twin, model)
    dyt.revert(model).save_pretrained(tmp_path)
    assert "dyt" not in json.loads((tmp_path / "config.json").read_text())
    assert MARK not in load_file(tmp_path / "model.safetensors")
    with pytest.raises(RuntimeError, match=MARK):
        model.load_state_dict({**model.state_dict(), MARK: torch.empty(0)})


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_save_themselves(copied, tmp_path):
    model = dyt.convert(new("llama"))
    twin = trained(copied(model))
    twin.save_pretrained(tmp_path)
    found = dyt.load(tmp_path)
    assert same(found, twin)
    assert not same(found, model)


def test_averaged_copies_are_saved(tmp_path):
    model = dyt.convert(Lone())
    average = torch.optim.swa_utils.AveragedModel(model)
    trained(model)
    average.update_parameters(model)
    dyt.save(average.module, tmp_path)
    assert same(dyt.load(tmp_path, Lone()), model)


def test_a_model_in_a_wrapper_is_saved_itself(tmp_path):
    model = trained(dyt.convert(Lone()))
    dyt.save(torch.compile(model), tmp_path)
    assert same(dyt.load(tmp_path, Lone()), model)


def test_lightning_checkpoints_hold_it(tmp_path):
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = dyt.convert(new("llama"))

    module = Module()
    trained(module)
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, barebones=False
    )
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    assert same(Module.load_from_checkpoint(tmp_path / "last.ckpt").model, module.model)


def test_a_loaded_model_has_no_norms_to_return_to(tmp_path):
    dyt.save(dyt.convert(new("llama")), tmp_path)
    model = dyt.load(tmp_path)
    with pytest.raises(ValueError, match=r"replaced by dyt\.load"):
        dyt.revert(model)
    with pytest.raises(ValueError, match=r"replaced by dyt\.load"):
        dyt.calibrate(model, [IDS])
    with pytest.raises(ValueError, match="converted already"):
        dyt.convert(model)


def test_a_factor_alone_is_undone_after_loading(tmp_path):
    dyt.save(trained(dyt.convert(new("llama-tied"), recipe="factor")), tmp_path)
    model = dyt.revert(dyt.load(tmp_path))
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert not model.lm_head.weight.is_meta


def test_only_what_can_be_loaded_is_saved(tmp_path, monkeypatch):
    class Own(dyt.DynamicTanh):
        pass

    with pytest.raises(ValueError, match=r"'0' is a Own, which dyt.load could not build"):
        dyt.save(dyt.convert(nn.Sequential(nn.LayerNorm(8)), Own), tmp_path)
    with pytest.raises(ValueError, match=r"holds no layer that dyt\.convert put in"):
        dyt.save(nn.Sequential(nn.LayerNorm(8)), tmp_path)
    with pytest.raises(ValueError, match=r"no save_pretrained to take \['variant'\]"):
        dyt.save(dyt.convert(Lone()), tmp_path, variant="fp16")
    assert not list(tmp_path.iterdir())
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ImportError, match=r"pip install 'dyt-core\[hub\]'"):
        dyt.save(dyt.convert(Lone()), tmp_path)
