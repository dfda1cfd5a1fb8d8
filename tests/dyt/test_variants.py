"""One table of variants and one of recipes: the same names wherever they are listed."""

import re
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from torch import nn

import dyt
from dyt.recipes import RECIPES
from dyt.rivals import Method
from dyt.variants import VARIANTS, WITHOUT_ALPHA

PACKAGE = Path(__file__).parents[2] / "packages/dyt-core"
POINTS = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]["entry-points"]
TABLES = {"variants": VARIANTS, "recipes": RECIPES}
# Those that change more than norms need a whole model: test_rivals.py.
EVERY = pytest.mark.parametrize(
    "name", [n for n, v in VARIANTS.items() if not isinstance(v, Method)]
)


def listed(title):
    """The names in the first column of the README's table that is headed so."""
    text = (PACKAGE / "README.md").read_text()
    table = text.partition(f"| {title} |")[2].partition("\n\n")[0]
    rows = [row for row in table.splitlines()[2:] if row.startswith("| ")]
    return [name for row in rows for name in re.findall(r"`([\w-]+)`", row.split("|")[1])]


@pytest.mark.parametrize("table", TABLES)
def test_entry_points_are_the_table(table):
    points = POINTS[f"dyt_bench.{table}"]
    assert set(points) == set(TABLES[table])
    for name, address in points.items():
        assert EntryPoint(name, address, table).load() is TABLES[table][name]


@pytest.mark.parametrize(("title", "table"), [("variant", VARIANTS), ("recipe", RECIPES)])
def test_the_readme_lists_the_table(title, table):
    names = listed(title)
    assert len(names) == len(set(names))
    assert set(names) == set(table)


def test_every_function_of_the_family_is_a_variant_of_its_name():
    for name, entry in dyt.FAMILY.items():
        layer = VARIANTS[name](8)
        assert isinstance(layer, dyt.PointwiseNorm)
        assert layer.function == entry.name


@EVERY
def test_every_variant_builds_and_trains_a_small_model(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 2))
    build = VARIANTS[name]
    for to in (name, build):  # by its name, and as a suite passes it: the object itself
        dyt.convert(model, to)
        layer = model[1]
        expected = dyt.PointwiseNorm if build not in WITHOUT_ALPHA else build
        assert isinstance(layer, expected)
        model(torch.randn(4, 8)).square().mean().backward()
        gradients = [p.grad for p in model.parameters()]
        assert all(g is not None and g.isfinite().all() for g in gradients)
        model.zero_grad()
        dyt.revert(model)


@EVERY
def test_alpha_is_set_where_there_is_one_and_refused_elsewhere(name):
    for to in (name, VARIANTS[name]):
        if VARIANTS[name] in WITHOUT_ALPHA:
            for options in ({"alpha_init_value": 0.7}, {"recipe": "paper"}):
                with pytest.raises(ValueError, match="has no alpha: leave out alpha_init_value"):
                    dyt.convert(nn.LayerNorm(4), to, **options)
        else:
            layer = dyt.convert(nn.LayerNorm(4), to, alpha_init_value=0.7)
            assert layer.alpha.item() == pytest.approx(0.7)


def test_an_unknown_variant_is_named():
    with pytest.raises(ValueError, match=r"to must be one of 'dyt', .*; got 'dytt'"):
        dyt.convert(nn.LayerNorm(4), "dytt")
