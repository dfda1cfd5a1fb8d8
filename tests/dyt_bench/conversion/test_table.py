"""`dyt-bench convert` shows a model's norms and what takes their place."""

import json

import pytest
from click.testing import CliRunner
from torch import nn

from dyt.rivals import Method
from dyt_bench.cli import main
from dyt_bench.conversion.table import convert_spec
from dyt_bench.discovery.extensions import RECIPES, VARIANTS, variant_names
from dyt_bench.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries


def mixed():
    return nn.Sequential(nn.LayerNorm(4), nn.BatchNorm1d(4))


def without():
    return nn.Linear(4, 4)


def shown(*arguments):
    result = CliRunner().invoke(main, ["convert", *arguments], env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_norms_alike_share_a_line():
    page = shown("timm:vit_tiny_patch16_224")
    assert "blocks.*.norm1 ×12" in page
    assert "25 of 25 norms replaced" in page


def test_a_recipe_is_named_with_its_source():
    page = shown("transformers:LlamaConfig", "--recipe", "paper")
    assert "DynamicTanh 1" in page
    assert "recipe llama: arXiv 2503.10622" in page


# Variants with a recipe of their own, for models of one architecture.
METHODS = [name for name in VARIANTS.names() if isinstance(VARIANTS.load(name), Method)]


@pytest.mark.parametrize("name", sorted({*variant_names()} - {*METHODS}))
def test_every_layer_of_a_suite_can_be_shown(name):
    conversion = convert_spec(f"module:{__name__}:mixed", name, None, full=False)
    assert [row.becomes is not None for row in conversion.rows] == [name != "native", False]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_a_suite_is_shown_or_says_what_it_is_for(name):
    model = f"module:{__name__}:mixed"
    if name == "tapernorm":  # which fits any model
        assert convert_spec(model, name, None, full=False).rows[0].becomes
        return
    with pytest.raises(UserError, match="is for another architecture"):
        convert_spec(model, name, None, full=False)


GENERAL = ("calibrated", "gradual", "paper", "swap-only")


@pytest.mark.parametrize("name", GENERAL)
def test_a_general_recipe_fits_any_model(name):
    assert convert_spec(f"module:{__name__}:mixed", "dyt", name, full=False).recipe


@pytest.mark.parametrize("name", sorted({*RECIPES.names()} - {*GENERAL}))
def test_every_other_recipe_of_a_suite_is_for_one_architecture(name):
    with pytest.raises(UserError, match="is for another architecture"):
        convert_spec(f"module:{__name__}:mixed", "dyt", name, full=False)


def test_an_unknown_recipe_is_named_with_the_nearest():
    with pytest.raises(UserError, match=r"unknown recipe 'lama'.*did you mean 'llama'"):
        convert_spec(f"module:{__name__}:mixed", "dyt", "lama", full=False)


def test_what_stays_says_why():
    page = shown(f"module:{__name__}:mixed")
    assert "stays: BatchNorm1d averages over" in " ".join(page.split())
    assert "1 of 2 norms replaced" in page


def test_a_model_without_norms_is_reported():
    assert "0 of 0 norms replaced" in shown(f"module:{__name__}:without")


def test_json_is_for_programs():
    found = json.loads(shown("diffusers:DiTTransformer2DModel", "--to", "derf", "--json"))
    assert found["class"] == "DiTTransformer2DModel"
    assert {site["becomes"] for site in found["sites"]} == {"DynamicErf 0.5"}
    assert not any(site["affine"] for site in found["sites"])


def test_the_librarys_own_size_is_on_the_meta_device():
    conversion = convert_spec("transformers:LlamaConfig", "dyt", "paper", full=True)
    assert conversion.parameters > 6e9
    assert len(conversion.rows) == 65


def test_a_configuration_without_a_model_is_reported():
    with pytest.raises(UserError, match="transformers has no model for Emu3VQVAEConfig"):
        convert_spec("transformers:Emu3VQVAEConfig", "dyt", None, full=False)
