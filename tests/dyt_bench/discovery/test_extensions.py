"""Extensions are found by name, and what is wrong with one is reported."""

import json
import sys

import pytest
from click.testing import CliRunner

import dyt.variants
from dyt_bench.cli import main
from dyt_bench.discovery import extensions as plugins
from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.extensions import DATASETS, EXECUTORS, METRICS, RECIPES, SECTIONS, VARIANTS
from dyt_bench.discovery.inventory import inventory
from dyt_bench.errors import UserError
from dyt_bench.executors.local import LocalExecutor

from ..conftest import declare

MODULE = """
from dyt_bench.plugin.extensions import AddedDataset, AddedMetric
number = 1
metric = AddedMetric(title="m", mode="min", compute=lambda trained: 0.0)
later = AddedMetric(title="m", mode="min", compute=lambda trained: 0.0, api_version=99)
elsewhere = AddedMetric(title="m", mode="min", compute=lambda trained: 0.0, domains=("dnaa",))
def dataset(domain, reads_as):
    return AddedDataset(domain=domain, reads_as=reads_as, summary="", source="", licence="")
misread = dataset("vision", "digits")
foreign = dataset("visoin", "folder")
class Variant:
    def __init__(self, width): pass
def section(): pass
class Executor:
    def __init__(self, preload): pass
"""
# kind, entry point's name, what it names -> what is wrong with it
BROKEN = {
    (
        "metric",
        "absent",
        "addon:absent",
    ): "importing addon:absent raised AttributeError",
    (
        "metric",
        "crooked",
        "crooked:metric",
    ): "importing crooked:metric raised RuntimeError: bent",
    ("metric", "leaving", "leaving:metric"): "importing leaving:metric raised SystemExit: bye",
    (
        "metric",
        "wrong",
        "addon:number",
    ): "is a int, not a dyt_bench.plugin.extensions.AddedMetric",
    ("metric", "later", "addon:later"): "made for contract version 99, and this",
    ("metric", "elsewhere", "addon:elsewhere"): "unknown domain 'dnaa': expected one of",
    (
        "metric",
        "Bad_Name",
        "addon:metric",
    ): "must be lower-case letters, digits and hyphens",
    (
        "variant",
        "narrow",
        "addon:Variant",
    ): "is not called as dyt.DynamicTanh is: got an unexpected",
    ("recipe", "number", "addon:number"): "is a int, not a dyt.Recipe or a function",
    ("section", "deaf", "addon:section"): "is not a function of what was collected",
    ("executor", "idle", "addon:Executor"): "has no method run(job, log, limits)",
    ("executor", "local", "addon:Executor"): "name 'local' is the harness's own",
    (
        "data set",
        "misread",
        "addon:misread",
    ): "to be read as 'digits', which is no data set of",
    ("data set", "foreign", "addon:foreign"): "unknown domain 'visoin': expected one of",
}


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on the path, with modules of third-party plug-ins."""
    (tmp_path / "addon.py").write_text(MODULE)
    (tmp_path / "crooked.py").write_text("raise RuntimeError('bent')")
    (tmp_path / "leaving.py").write_text("raise SystemExit('bye')")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("addon", None)


def test_names_are_listed_and_nothing_is_imported(site):
    declare(site, "addon", {"dyt_bench.variants": {"absent": "no_such_module:Variant"}})
    assert plugins.variant_names() == ["native", "absent", *sorted(dyt.variants.VARIANTS)]
    assert EXECUTORS.names() == ["local", "ray", "slurm"]
    assert METRICS.names() == ["zero-shot"]  # of dyt-llm
    assert SECTIONS.names() == DATASETS.names() == []


def test_what_is_asked_for_is_imported():
    import dyt

    assert VARIANTS.load("dyt") is dyt.DynamicTanh
    assert isinstance(RECIPES.load("calibrated"), dyt.Recipe)
    assert EXECUTORS.load("local") is LocalExecutor
    with pytest.raises(UserError, match=r"unknown variant 'dty'.*did you mean 'dyt'"):
        VARIANTS.load("dty")


def test_each_broken_one_is_named_with_its_distribution_and_the_rest_works(site, monkeypatch):
    points = {"dyt_bench.metrics": {"whole": "addon:metric"}}
    groups = {point.kind: point.group for point in plugins.EXTENSION_POINTS.values()}
    for kind, name, value in BROKEN:
        points.setdefault(groups[kind], {})[name] = value
    declare(site, "addon", points)
    listed = {(p.kind, p.name, p.value): p for p in inventory(discover())}
    for key, problem in BROKEN.items():
        assert problem in listed[key].problem
        assert listed[key].distribution == "addon 1"
    assert listed["metric", "whole", "addon:metric"].problem == ""
    assert listed["variant", "dyt", "dyt:DynamicTanh"].problem == ""
    with pytest.raises(UserError, match="metric 'crooked' of addon 1 is broken: importing"):
        METRICS.load("crooked")

    said = CliRunner().invoke(main, ["plugins"])
    assert said.exit_code == 0
    assert "metric    whole                addon 1: addon:metric" in said.stdout
    assert said.stderr.count("\n") == len(BROKEN)
    assert "dyt-bench: variant 'narrow' of addon 1 is broken: " in said.stderr
    listed = json.loads(CliRunner().invoke(main, ["plugins", "--json"]).stdout)
    assert {plugin["name"] for plugin in listed if plugin["problem"]} == {key[1] for key in BROKEN}


def test_a_name_that_two_packages_declare_is_neither_s(site):
    for name in ("addon", "twin"):
        declare(site, name, {"dyt_bench.metrics": {"whole": "addon:metric"}})
    with pytest.raises(UserError, match="declared by addon 1 and twin 1: uninstall all but one"):
        METRICS.load("whole")
    assert METRICS.names() == ["whole", "zero-shot"]
    assert sum(plugin.name == "whole" for plugin in inventory(discover())) == 2


def test_code_counts_where_the_tasks_digest_does_not_cover_it(site):
    declare(site, "addon", {"dyt_bench.variants": {"narrow": "addon:Variant"}})
    assert VARIANTS.code_digest("dyt") == VARIANTS.code_digest("identity") == ""
    before = VARIANTS.code_digest("narrow")
    (site / "addon.py").write_text(MODULE + "# a comment\n")
    assert before == VARIANTS.code_digest("narrow")
    (site / "addon.py").write_text(MODULE + "another = 1\n")
    assert before != VARIANTS.code_digest("narrow") != ""
