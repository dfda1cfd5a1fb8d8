"""The guide for authors of domains: its table of the contract, its messages, its public names."""

import ast
import importlib
import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from tests.readme.blocks import ROOT

from dyt_bench.discovery import domains as registry
from dyt_bench.errors import UserError
from dyt_bench.plugin.domain import ENTRY_POINT_GROUP, Domain
from dyt_bench.suite.expand import load_suite

GUIDE = (ROOT / ".docs/pages/plugin.md").read_text()
CONTRACT = "The contract on one screen"
SOURCES = [
    file
    for folder in (
        ROOT / "tests/plugins/dyt-majority",
        *(path for path in (ROOT / "packages").glob("*/src/*") if path.name != "dyt_bench"),
    )
    for file in sorted(folder.rglob("*.py"))
]


def rows(heading):
    """Cells of the table below a heading, without its two first lines."""
    section = GUIDE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


PUBLIC = {
    module.strip("`"): set(re.findall(r"`(\w+)`", names)) for module, names in rows("Public names")
}
MESSAGES = {cells[0].strip("` ") for cells in rows("When something goes wrong")}


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_what_modules_declare(module):
    imported = importlib.import_module(module)
    assert PUBLIC[module] == set(imported.__all__)
    assert all(hasattr(imported, name) for name in PUBLIC[module])


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_domains_import_public_names_only(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            assert not any(each.name.startswith("dyt_bench") for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "dyt_bench":
            assert {f"dyt_bench.{each.name}" for each in node.names} <= PUBLIC.keys()
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dyt_bench."):
            assert {each.name for each in node.names} <= PUBLIC[node.module]


def test_the_contract_fits_the_table():
    listed = set(re.findall(r"`(\w+)", "".join(row[0] + "\n" for row in rows(CONTRACT))))
    members = {name for name in vars(Domain) if not name.startswith("_")} | {
        name for name in Domain.__annotations__ if not name.startswith("_")
    }
    arguments = {"task", "data", "module", "folder", "checkpoint", "options", "model"}
    assert listed - arguments == members


def test_an_existing_model_and_data_set_take_at_most_sixty_lines():
    (plugin,) = (ROOT / "tests/plugins/dyt-majority").glob("dyt_majority/*.py")
    assert len(plugin.read_text().splitlines()) <= 60


@pytest.fixture
def says(monkeypatch, tmp_path):
    """What is reported of a domain with these fields."""

    def said(value="dyt_weather:domain", **fields):
        if fields:
            kept = dict.fromkeys(Domain.__abstractmethods__)
            domain = type("Weather", (Domain,), kept | fields)()
            module = type("module", (), {"domain": domain})
            monkeypatch.setitem(sys.modules, "dyt_weather", module)
        point = EntryPoint("weather", value, ENTRY_POINT_GROUP)
        others = registry.entry_points

        def points(group, **wanted):
            return [point] if group == ENTRY_POINT_GROUP else others(group=group, **wanted)

        monkeypatch.setattr(registry, "entry_points", points)
        return registry.discover()

    return said


def broken(says, **fields):
    return says(**fields).broken["weather"]


WHOLE = {"name": "weather", "summary": "s", "unit": "u", "metric": object()}


def import_fails(says, _):
    return broken(says)


def misnamed(says, _):
    from dyt_vision import domain

    whole = {name: getattr(domain, name) for name in ("metric", "models", "datasets")}
    return broken(says, **WHOLE | whole | {"name": "wether"})


def incomplete(says, _):
    from dyt_vision import domain

    return broken(says, **WHOLE | {"metric": domain.metric, "models": {}, "datasets": {}})


def too_new(says, _):
    return broken(says, **WHOLE, api_version=3)


def unknown_domain(says, monkeypatch):
    Path("mine.yaml").write_text("name: mine\ntasks:\n  - domain: wether\n")
    from dyt_vision import domain

    whole = {name: getattr(domain, name) for name in ("metric", "models", "datasets")}
    with pytest.raises(UserError) as error:
        load_suite(Path("mine.yaml"), says(**WHOLE | whole))
    return str(error.value)


def no_path(says, _):
    from dyt_bench.plugin.files import files_below

    with pytest.raises(UserError) as error:
        files_below(None, {".png"}, "CLASS/IMAGE.png")
    return str(error.value)


def no_package(says, monkeypatch):
    from dyt_bench.plugin import files as sources

    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    with pytest.raises(UserError) as error:
        sources.package_file("rdkit", "Data/NCI/first_5k.tpsa.csv")
    return str(error.value)


def not_fetched(says, monkeypatch):
    from dyt_dna import domain

    monkeypatch.setenv("DYT_BENCH_DATA", str(Path.cwd()))
    with pytest.raises(UserError) as error:
        domain.datasets["bacteria"].files(None)
    return str(error.value)


def too_few(says, _):
    from dyt_bench.plugin.data import SeededDataModule

    with pytest.raises(UserError) as error:
        SeededDataModule(range(20), range(5), batch_size=32, seed=0)
    return str(error.value)


def no_batch(says, _):
    from dyt_bench.training.checkpoint import _epochs

    with pytest.raises(ValueError, match="no batch") as error:
        next(_epochs([]))
    return str(error.value)


def no_norm(says, _):
    from torch import nn

    import dyt

    with pytest.raises(ValueError, match="no norm") as error:
        dyt.convert(nn.Sequential(nn.Linear(2, 2)), "dyt")
    return str(error.value)


def unknown_norm(says, _):
    import torch
    from torch import nn

    import dyt

    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

        def forward(self, x):
            raise NotImplementedError

    with pytest.raises(ValueError, match="left behind") as error:
        dyt.convert(nn.Sequential(Norm(), nn.LayerNorm(2)), "dyt")
    return str(error.value)


def no_units(says, _):
    from types import SimpleNamespace

    from torch import nn

    from dyt_bench.training.trainer import Watch

    watch = Watch(SimpleNamespace(batch_size=1), None)
    with pytest.raises(AttributeError) as error:
        watch.on_fit_start(None, nn.Module())
    return str(error.value)


def diverged(says, _):
    from dyt_bench.training.trainer import Diverged

    return str(Diverged(3, float("nan")))


PROVOKED = [
    import_fails,
    misnamed,
    incomplete,
    too_new,
    unknown_domain,
    no_path,
    no_package,
    not_fetched,
    too_few,
    no_batch,
    no_norm,
    unknown_norm,
    no_units,
    diverged,
]


@pytest.mark.parametrize("provoke", PROVOKED, ids=lambda provoke: provoke.__name__)
def test_a_message_quoted_is_one_that_is_given(provoke, says, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    given = provoke(says, monkeypatch)
    assert [message for message in MESSAGES if message in given], given


def test_every_message_quoted_is_provoked():
    assert len(MESSAGES) == len(PROVOKED)
