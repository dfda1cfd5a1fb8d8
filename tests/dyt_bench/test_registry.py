"""Entry points: ours are found, and what is wrong with a stranger's is said."""

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from dyt_bench import registry
from dyt_bench.domain import ENTRY_POINT_GROUP, Dataset, Domain, Metric, Model
from dyt_bench.errors import UserError


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


def test_our_five_domains_are_found_like_a_strangers():
    found = registry.discover()
    assert set(found.domains) == {"diffusion", "dna", "llm", "speech", "vision"}
    assert not found.broken


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"api_version": 99}, "contract version 99"),
        ({"summary": ""}, "lacks summary"),
        ({"models": {}}, "lacks models"),
        ({"name": "Bad Name"}, "must be lower-case"),
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


def test_a_plugin_that_is_no_domain_is_reported(install):
    assert "is a dict, not" in install(("bad", {})).broken["bad"]


def test_a_plugin_that_raises_on_import_is_reported(monkeypatch):
    point = EntryPoint("bad", "no_such_module:domain", ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group, **_: [point])
    assert "ModuleNotFoundError" in registry.discover().broken["bad"]


def test_the_same_name_twice_is_reported(install):
    found = install(("good", Good()), ("good", Good()))
    assert list(found.domains) == ["good"]
    assert "declares 'good'" in found.broken["good"]


def test_code_digest_follows_the_code():
    found = registry.discover()
    assert found.code_digest("vision") != found.code_digest("llm")
    assert found.code_digest("vision") == registry.discover().code_digest("vision")
