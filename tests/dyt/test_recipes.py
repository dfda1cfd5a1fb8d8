"""Recipes: alpha, sites and what changes with the norms, each for the models it is meant for."""

import math

import pytest
import torch
from diffusers import DiTTransformer2DModel
from timm.models.convnext import ConvNeXt
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Wav2Vec2Config, Wav2Vec2Model

import dyt
from dyt import ScaledEmbedding
from dyt.recipes import DIT, LLAMA, RECIPES, SWAP_ONLY, WAV2VEC2, paper


def llama(**options):
    config = {
        "vocab_size": 50,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    return LlamaForCausalLM(LlamaConfig(**(config | options)))


def wav2vec2():
    return Wav2Vec2Model(
        Wav2Vec2Config(
            conv_dim=(8,) * 7,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            feat_extract_norm="layer",
        )
    )


def dit():
    model = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=3,
        num_layers=2,
        sample_size=8,
        num_embeds_ada_norm=5,
        norm_num_groups=1,
    )
    for linear in (*(b.norm1.linear for b in model.transformer_blocks), model.proj_out_2):
        nn.init.zeros_(linear.weight)
    return model


def vit():
    return VisionTransformer(img_size=8, patch_size=4, embed_dim=16, depth=2, num_heads=2)


def convnext():
    return ConvNeXt(depths=(1,) * 4, dims=(8,) * 4)


def unheard_of():
    return nn.Sequential(nn.LayerNorm(4))


MODELS = {"llama": llama, "dit": dit, "wav2vec2": wav2vec2, "vit": vit, "convnext": convnext}


@pytest.mark.parametrize(
    ("width", "attention", "rest"),
    [
        (128, 1.0, 1.0),
        (1024, 1.0, 1.0),
        (2048, 1.0, 0.5),
        (4096, 0.8, 0.2),
        (5120, 0.6, 0.15),
        (8192, 0.2, 0.05),
    ],
)
def test_llama_rule_gives_the_papers_alpha(width, attention, rest):
    layer = nn.ModuleDict(
        {
            "input_layernorm": nn.RMSNorm(width, device="meta"),
            "post_attention_layernorm": nn.RMSNorm(width, device="meta"),
        }
    )
    model = nn.ModuleDict({"layers": nn.ModuleList([layer]), "norm": nn.RMSNorm(width)})
    alpha = {site.name: LLAMA.alpha(site) for site in dyt.audit(model)}
    assert alpha == {
        "layers.0.input_layernorm": attention,
        "layers.0.post_attention_layernorm": rest,
        "norm": rest,
    }


def test_the_control_keeps_every_norm_and_adds_the_factor():
    model = llama()
    norms = {site.name for site in dyt.audit(model)}
    ids = torch.tensor([[1, 2]])
    dyt.convert(model, recipe="factor")
    assert {site.name for site in dyt.audit(model)} == norms
    embedding = model.get_input_embeddings()
    assert isinstance(embedding, ScaledEmbedding)
    assert (embedding.weight * embedding.scale).std().item() == pytest.approx(1, rel=1e-5)
    model(ids).logits.sum().backward()
    assert embedding.scale.grad is not None
    assert type(dyt.revert(model).get_input_embeddings()) is nn.Embedding
    with pytest.raises(ValueError, match=r"lacks one torch.nn.Embedding of tokens"):
        dyt.convert(vit(), recipe="factor")


def test_llama_gets_one_learnable_scalar_after_the_embedding():
    model = llama(tie_word_embeddings=True)
    weight, ids = model.model.embed_tokens.weight, torch.tensor([[1, 2]])
    before = model.model.embed_tokens(ids)
    keys = set(model.state_dict())
    dyt.convert(model, recipe="llama")
    embedding = model.get_input_embeddings()
    assert isinstance(embedding, ScaledEmbedding)
    torch.testing.assert_close(embedding(ids), before * math.sqrt(16))
    assert embedding.weight is weight is model.lm_head.weight
    added = {k for k in set(model.state_dict()) - keys if not k.endswith("alpha")}
    assert added == {"model.embed_tokens.scale"}
    model(ids).logits.sum().backward()
    assert embedding.scale.grad is not None
    dyt.revert(model)
    assert type(model.model.embed_tokens) is nn.Embedding
    assert set(model.state_dict()) == keys


def test_llama_weights_stay_as_they_are_and_bias_there_is_none():
    model = dyt.convert(llama(), recipe="llama")
    assert model.model.layers[0].input_layernorm.alpha.item() == pytest.approx(1.0)
    assert model.model.layers[0].post_attention_layernorm.alpha.item() == pytest.approx(1.0)
    assert model.model.norm.bias is None


def test_dit_no_longer_starts_at_zero():
    model = dit()
    linears = [b.norm1.linear for b in model.transformer_blocks]
    others = [m.weight.clone() for m in model.modules() if type(m) is nn.Linear and m.weight.any()]
    dyt.convert(model, recipe="dit")
    for block, old in zip(model.transformer_blocks, linears, strict=True):
        assert block.norm1.linear.weight.any()
        assert not block.norm1.linear.bias.any()
        assert isinstance(block.norm1.norm, dyt.DynamicTanh)
        assert block.norm1.norm.weight is None
        assert not old.weight.any()
    assert model.proj_out_2.weight.any()
    weights = [m.weight for m in model.modules() if type(m) is nn.Linear]
    assert all(any(torch.equal(other, w) for w in weights) for other in others)
    dyt.revert(model)
    assert [b.norm1.linear for b in model.transformer_blocks] == linears


def test_wav2vec2_keeps_the_norms_of_its_feature_extractor():
    model = dyt.convert(wav2vec2(), recipe="wav2vec2")
    swapped = {name for name, m in model.named_modules() if isinstance(m, dyt.DynamicTanh)}
    assert swapped == {
        "feature_projection.layer_norm",
        "encoder.layer_norm",
        *(f"encoder.layers.{i}.{name}layer_norm" for i in (0, 1) for name in ("", "final_")),
    }


@pytest.mark.parametrize("name", MODELS)
def test_paper_picks_by_what_the_model_is(name):
    assert paper(MODELS[name]()).name == name


def test_paper_says_when_there_is_none():
    recipe = paper(unheard_of())
    assert "none for this architecture" in recipe.source
    assert dyt.convert(unheard_of(), recipe="paper")[0].alpha.item() == 0.5


@pytest.mark.parametrize("recipe", ["swap-only", "paper"])
@pytest.mark.parametrize("name", MODELS)
def test_two_recipes_fit_every_model(name, recipe):
    model = dyt.convert(MODELS[name](), "derf", recipe=recipe)
    layers = [m for m in model.modules() if isinstance(m, dyt.PointwiseNorm)]
    alpha = sorted({round(layer.alpha.item(), 6) for layer in layers})
    paper_of_llama = (name, recipe) == ("llama", "paper")
    assert alpha == ([1.0] if paper_of_llama else [0.5])


@pytest.mark.parametrize("recipe", [LLAMA, DIT, WAV2VEC2, *map(RECIPES.get, ("vit", "convnext"))])
def test_a_recipe_for_another_architecture_is_refused_and_changes_nothing(recipe):
    model = unheard_of()
    keys = list(model.state_dict())
    with pytest.raises(ValueError, match=f"recipe '{recipe.name}' is for another architecture"):
        dyt.convert(model, recipe=recipe)
    assert list(model.state_dict()) == keys


def test_swap_only_is_one_half_everywhere():
    model = dyt.convert(nn.Sequential(nn.LayerNorm(4)), alpha_init_value=SWAP_ONLY.alpha)
    assert model[0].alpha.item() == 0.5


def test_every_recipe_names_its_source():
    recipes = [r for r in RECIPES.values() if isinstance(r, dyt.Recipe)]
    published = [r for r in recipes if not r.calibrated and r.name != "factor"]
    papers = {"gpt2": "arXiv 2512.10938"}
    for recipe in published:
        assert recipe.source.startswith(papers.get(recipe.name, "arXiv 2503.10622"))
    assert all(recipe.source for recipe in recipes)
    assert all(name == recipe.name for name, recipe in RECIPES.items() if recipe in recipes)


def test_a_recipe_of_ones_own_chooses_sites_and_alpha():
    mine = dyt.Recipe(
        "mine", lambda site: 1.5, "this test", takes=lambda site: site.role == "final"
    )
    model = dyt.convert(vit(), recipe=mine)
    layers = {n: m for n, m in model.named_modules() if isinstance(m, dyt.DynamicTanh)}
    assert list(layers) == ["norm"]
    assert layers["norm"].alpha.item() == 1.5


def test_gpt2_scales_the_sum_of_its_embeddings_by_one_scalar(tmp_path):
    from tests.dyt._surgery.models import IDS, new, output, trained

    native, model = new("gpt2"), new("gpt2")
    model.load_state_dict(native.state_dict())
    dyt.convert(model, "derf", recipe="paper")
    entered = []
    model.transformer.h[0].register_forward_pre_hook(lambda _, given: entered.append(given[0]))
    model(IDS)
    tokens, positions = native.transformer.wte, native.transformer.wpe
    summed = math.sqrt(32) * (tokens(IDS) + positions(torch.arange(8)))
    torch.testing.assert_close(entered[0], summed)
    assert model.lm_head.weight is model.transformer.wte.weight  # and is not scaled
    assert set(dyt.alphas(model).values()) == {1.0}
    dyt.save(trained(model), tmp_path)
    loaded = dyt.load(tmp_path)
    assert torch.equal(loaded.transformer.drop.scale, model.transformer.drop.scale)
    assert torch.equal(output(loaded, "gpt2"), output(model, "gpt2"))
