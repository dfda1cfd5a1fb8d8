"""Models by name, shrunk without losing a kind of layer."""

import pytest

from dyt_bench.conversion.shrink import shrink
from dyt_bench.conversion.specimen import count, total
from dyt_bench.conversion.zoo import library, load
from dyt_bench.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries


def test_only_sizes_shrink_and_small_ones_stay():
    config = {"hidden_size": 4096, "num_hidden_layers": 1, "hidden_act": "silu", "use_cache": True}
    assert shrink(config) == {**config, "hidden_size": 64}


def test_one_layer_of_each_kind_is_kept():
    config = {"num_hidden_layers": 6, "layer_types": ["mamba", "mamba", "attention"] * 2}
    small = shrink(config)
    assert small["num_hidden_layers"] == 2
    assert small["layer_types"] == ["mamba", "attention"]


def test_heads_of_one_size_stay_of_one_size():
    small = shrink({"num_attention_heads": 32, "num_key_value_heads": 32})
    assert small["num_attention_heads"] == small["num_key_value_heads"]
    grouped = shrink({"num_attention_heads": 32, "num_key_value_heads": 8})
    assert grouped["num_attention_heads"] > grouped["num_key_value_heads"]


def test_token_ids_stay_within_the_vocabulary():
    small = shrink({"vocab_size": 50000, "eos_token_id": 49999, "nested": {"pad_token_id": 2}})
    assert small["eos_token_id"] < small["vocab_size"]
    assert small["nested"]["pad_token_id"] == 2


@pytest.mark.parametrize("name", ["llama", "LlamaConfig", "LlamaForCausalLM"])
def test_transformers_models_have_three_names(name):
    specimen = load(f"transformers:{name}")
    assert count(specimen.model) < 1e6
    assert specimen.model.training in (True, False)
    total(specimen.model(**specimen.inputs[0])).backward()


def test_large_models_are_on_the_meta_device():
    assert load("timm:vit_large_patch16_224").device.type == "meta"


def test_every_library_lists_what_it_has():
    assert len(library("timm").names()) > 1000
    assert "llama" in library("transformers").names()
    assert "DiTTransformer2DModel" in library("diffusers").names()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("llama", "unknown source 'llama'.*write SOURCE:NAME"),
        ("tim:vit", r"or a checkpoint's folder, as ./bert; did you mean 'timm'\?$"),
        ("timm:", "model 'timm:': no name: write SOURCE:NAME"),
        ("transformers:LlamConfig", "did you mean 'LlamaConfig'"),
        ("diffusers:DiTTransformer2D", "did you mean 'DiTTransformer2DModel'"),
        ("module:torch.nn", "write module:PACKAGE.MODULE:FACTORY"),
        ("module:builtins:dict", "returned a dict, not a torch.nn.Module"),
    ],
)
def test_an_unknown_name_is_one_sentence(spec, message):
    with pytest.raises(UserError, match=message):
        load(spec)
