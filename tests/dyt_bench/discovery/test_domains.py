"""Domains are found by their entry points, and what is wrong with a third-party one is reported."""

import json
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest
from click.testing import CliRunner

from dyt_bench.cli import main
from dyt_bench.discovery import domains as registry
from dyt_bench.discovery.domains import unknown
from dyt_bench.errors import UserError
from dyt_bench.plugin.domain import (
    ENTRY_POINT_GROUP,
    Dataset,
    Domain,
    Metric,
    Model,
    TrainingPreset,
)

# The source of a plug-in that works.
HEALTHY = """
from dyt_tiny import Tiny
class Messy(Tiny):
    name = "messy"
domain = Messy()
"""


class Good(Domain):
    name = "good"
    summary = "a domain"
    unit = "thing"
    metric = Metric(name="val/loss", mode="min", title="loss", margin=0.1)
    models = {
        "m": Model(
            summary="m",
            library="none",
            native_norm="none",
            steps=1,
            batch_size=1,
            learning_rate=1.0,
        )
    }
    datasets = {"d": Dataset(summary="d", source="s", licence="l", files=lambda path: [])}

    def build_data(self, task):
        raise NotImplementedError

    def build_module(self, task, data):
        raise NotImplementedError


@pytest.fixture
def install(monkeypatch):
    """Pretend that these objects are registered: (entry point's name, object) pairs."""

    def installed(*plugins):
        points = []
        for number, (name, value) in enumerate(plugins):
            module = ModuleType(f"plugin{number}")
            module.domain = value
            monkeypatch.setitem(sys.modules, module.__name__, module)
            points.append(EntryPoint(name, f"{module.__name__}:domain", ENTRY_POINT_GROUP))
        monkeypatch.setattr(registry, "entry_points", lambda group, **_: points)
        return registry.discover()

    return installed


def test_our_five_domains_are_found_as_third_party_ones_are():
    found = registry.discover()
    assert set(found.domains) >= {"diffusion", "dna", "llm", "speech", "vision"}
    assert not found.broken
    assert not found.warnings


def test_a_domain_is_imported_when_it_is_asked_for(install):
    found = install(("bad", {}), ("good", Good()))
    assert found.names == ["bad", "good"]
    assert found.domain("good").name == "good"
    assert list(found._loaded) == ["good"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"summary": ""}, "lacks summary"),
        ({"models": {}}, "lacks models"),
        ({"metric": {"name": "val/loss"}}, "must have a Metric as its metric, got a dict"),
        ({"models": ["m"]}, "must have a mapping from names to Model as its models, got ['m']"),
        ({"datasets": {"d": "digits"}}, "names to Dataset as its datasets, got {'d': 'digits'}"),
        (
            {"metric": replace(Good.metric, mode="minimize")},
            "has metric.mode 'minimize': expected one of 'min', 'max'",
        ),
        (
            {"trainings": {"fast": TrainingPreset(summary="s", schedule="cosin")}},
            "has trainings['fast'].schedule 'cosin': expected one of 'cosine', 'linear', ",
        ),
        (
            {"models": {"m": replace(Good.models["m"], strategies=("ddp", "fsdp"))}},
            "has models['m'].strategies 'fsdp': expected one of 'ddp', 'fsdp2'",
        ),
        ({"summary": property(lambda self: 1 / 0)}, "raised ZeroDivisionError"),
        ({"name": "Bad Name"}, "it must be lower-case"),
        ({"name": "other"}, "called 'other' but registered as 'bad'"),
    ],
)
def test_a_broken_plugin_is_reported_and_the_rest_load(install, change, problem):
    bad = type("Bad", (Good,), {"name": "bad"} | change)()
    found = install(("bad", bad), ("good", Good()))
    assert list(found.domains) == ["good"]
    assert problem in found.broken["bad"]
    with pytest.raises(UserError, match="installed but broken"):
        found.domain("bad")


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (
            3,
            "contract version 3, and this dyt-bench knows versions to 2: upgrade dyt-bench",
        ),
        (
            1,
            "contract version 1, and this dyt-bench takes versions from 2: upgrade the plugin",
        ),
        ("2", "must have a whole number as its api_version, got '2'"),
    ],
)
def test_a_plugin_for_another_contract_is_reported_with_the_fix(
    install, monkeypatch, version, message
):
    monkeypatch.setattr(registry, "OLDEST_API_VERSION", 2)
    monkeypatch.setattr(registry, "API_VERSION", 2)
    bad = type("Bad", (Good,), {"name": "bad", "api_version": version})()
    good = type("Now", (Good,), {"api_version": 2})()
    found = install(("bad", bad), ("good", good))
    assert message in found.broken["bad"]
    assert list(found.domains) == ["good"]


def test_an_older_contract_is_taken_as_long_as_promised(install, monkeypatch):
    monkeypatch.setattr(registry, "API_VERSION", 2)
    assert list(install(("good", Good())).domains) == ["good"]  # written for version 1


@pytest.mark.parametrize(
    ("value", "problem"),
    [({}, "is a dict, not"), (Good, "is a class: it must be an object of it, Good()")],
)
def test_a_plugin_that_is_no_domain_is_reported(install, value, problem):
    assert problem in install(("bad", value)).broken["bad"]


def test_a_name_that_two_distributions_declare_is_neithers(plant):
    plant("dyt_one", "raise RuntimeError('not imported')", domain="twice")
    plant("dyt_two", "raise RuntimeError('not imported')", domain="twice")
    found = registry.discover()
    problem = found.broken["twice"]
    assert "dyt-one 1.0 (dyt_one:domain)" in problem
    assert "dyt-two 1.0 (dyt_two:domain)" in problem
    assert "vision" in found.domains


def test_the_command_lists_the_rest_and_says_what_is_wrong(plant, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    plant("dyt_exits", "import sys\nprint('hello')\nsys.exit(3)", domain="exits")
    plant("dyt_messy", f"{HEALTHY}\nopen('left.txt', 'w').close()", domain="messy")
    result = CliRunner().invoke(main, ["domains", "--json"])
    assert result.exit_code == 0
    listing = json.loads(result.stdout)
    assert {"vision", "messy"} <= set(listing["domains"])
    assert "raised SystemExit: 3" in listing["broken"]["exits"]
    (warning,) = listing["warnings"]["messy"]
    assert "wrote to the working directory (left.txt)" in warning
    assert "domain 'exits' is broken: importing dyt_exits:domain raised" in result.stderr
    assert "domain 'messy': importing dyt_messy:domain wrote" in result.stderr


@pytest.mark.parametrize(
    ("name", "advice", "end"),
    [
        ("defualt", "", "default, smoke; did you mean 'default'?"),
        ("defualt", "name a file", "default, smoke; name a file; did you mean 'default'?"),
        ("mine", "name a file", "default, smoke; name a file"),
        ("mine", "", "default, smoke"),
    ],
)
def test_a_guess_ends_the_sentence_about_an_unknown_name(name, advice, end):
    said = unknown("suite", name, ["default", "smoke"], advice)
    assert said == f"unknown suite {name!r}: expected one of {end}"
