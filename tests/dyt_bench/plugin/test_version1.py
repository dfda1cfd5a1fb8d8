"""A plug-in of contract version 1 works as it did, and each old name warns of its successor."""

import importlib
import json
import subprocess
import sys
import warnings
from importlib import import_module

import pytest

from dyt_bench.plugin import code, domain, extensions
from dyt_bench.plugin.task import Task
from dyt_bench.plugin.version1 import ATTRIBUTES, MODULES, RENAMED

SUITE = """
name: veterans
variants: [native, clip]
metrics: [steps]
sections: [veterans]
tasks:
- {domain: veteran, steps: 2, datasets: [noise, more-noise]}
"""
FIELDS = {"summary": "s", "library": "l", "native_norm": "n"}
BUDGET = {"steps": 1, "batch_size": 1, "learning_rate": 1.0}


@pytest.fixture
def old(monkeypatch):
    """Import a module of version 1 anew."""

    def imported(name):
        monkeypatch.delitem(sys.modules, name, raising=False)
        with pytest.warns(DeprecationWarning, match=f"^{name} is {MODULES[name][0]} since"):
            return import_module(name)

    return imported


@pytest.mark.parametrize("name", MODULES)
def test_an_old_module_has_its_public_names_and_no_others(old, name):
    module, successor = old(name), import_module(MODULES[name][0])
    assert module.__all__ == list(MODULES[name][1])
    for public in set(module.__all__) - RENAMED.keys():
        if (name, public) not in {("dyt_bench.domain", n) for n in ("Domain", "Metric", "Model")}:
            assert getattr(module, public) is getattr(successor, public)
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'TrainingPreset'"):
        module.TrainingPreset  # noqa: B018


@pytest.mark.parametrize(
    ("module", "name", "new"),
    [
        ("dyt_bench.domain", "Training", domain.TrainingPreset),
        ("dyt_bench.points", "NormClass", extensions.LayerClass),
    ],
)
def test_a_renamed_class_is_its_successor(old, module, name, new):
    imported = old(module)
    with pytest.warns(DeprecationWarning, match=rf"{module}\.{name} is .*\.{new.__name__} since"):
        assert getattr(imported, name) is new


def test_the_result_of_a_rule_has_its_old_name():
    from dyt_bench import testing

    with pytest.warns(DeprecationWarning, match=r"testing\.Verdict is dyt_bench\.testing\.RuleR"):
        assert testing.Verdict is testing.RuleResult
    with pytest.raises(AttributeError, match="no attribute 'Verdicts'"):
        testing.Verdicts  # noqa: B018


def test_old_fields_fill_the_new_ones(old):
    module = old("dyt_bench.domain")
    with pytest.warns(DeprecationWarning, match=r"Metric\(baseline=\) is Metric\(reference=\)"):
        metric = module.Metric(name="n", mode="min", title="t", margin=0.1, baseline="the mean")
    assert isinstance(metric, domain.Metric)
    assert metric.reference == metric.baseline == "the mean"
    with pytest.warns(DeprecationWarning, match=r"is Model\(reference_steps=\)"):
        model = module.Model(**FIELDS, **BUDGET, baseline_steps=3)
    assert isinstance(model, domain.Model)
    assert model.reference_steps == model.baseline_steps == 3
    with pytest.warns(DeprecationWarning, match=r"Domain.baseline\(\) is Domain.reference_score"):
        kind = type("Old", (module.Domain,), {"baseline": lambda self, task, data: 7.0})
    kind.__abstractmethods__ = frozenset()
    assert kind().reference_score(None, None) == 7.0


def test_new_fields_need_no_warning(old):
    module = old("dyt_bench.domain")
    with warnings.catch_warnings(action="error"):
        assert module.Metric(name="n", mode="min", title="t", margin=0).reference == ""
        assert module.Model(**FIELDS, **BUDGET, reference_steps=2).baseline_steps == 2


LINES = """\
import dyt_bench.testing
from dyt_bench.domain import Domain
from dyt_bench.domain import Training
from dyt_bench.domain import Metric
class Veteran(Domain):
    metric = Metric(name="n", mode="min", title="t", margin=0.1, baseline="the mean")
class Older(Domain):
    def baseline(self, task, data): ...
dyt_bench.testing.Verdict
"""


def test_a_warning_names_the_line_that_uses_the_old_name(tmp_path, monkeypatch):
    file = tmp_path / "veteran.py"
    file.write_text(LINES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "dyt_bench.domain", raising=False)
    with pytest.warns(DeprecationWarning, match="since contract version 2") as caught:
        importlib.import_module("veteran")
    places = [(warning.filename, warning.lineno) for warning in caught]
    assert list(dict.fromkeys(places)) == [(str(file), line) for line in (2, 3, 6, 7, 9)]


def test_a_task_has_its_old_attributes(old):
    old("dyt_bench.cell")
    task = Task(domain="d", model="m", dataset="x", overrides="n=1", val_every=1, **BUDGET)
    with pytest.warns(DeprecationWarning, match=r"Task\.question is Task\.group since"):
        assert task.question == task.group
    with pytest.warns(DeprecationWarning, match=r"Task\.variant is Task\.overrides since"):
        assert task.variant == "n=1"
    with pytest.raises(AttributeError, match="'Task' object has no attribute 'norm'"):
        task.norm  # noqa: B018


def test_old_attributes_lead_to_attributes_that_exist():
    from dyt_bench.verdicts.runs import EndedRun, TaskGroup
    from dyt_bench.verdicts.standings import Standing

    for cls in (Task, EndedRun, TaskGroup, Standing):
        names = {*dir(cls), *cls.__dataclass_fields__}
        assert set(ATTRIBUTES[cls.__name__].values()) <= names


def test_what_stands_behind_an_old_module_counts_for_the_identity():
    covered = code.covered("dyt_version1")
    assert {"dyt_version1.module", "dyt_bench.plugin.module", "dyt_bench.plugin.data"} <= {*covered}


def test_the_harness_itself_uses_no_old_name():
    script = (
        "import sys, dyt_bench.cli, dyt_bench.scheduling.session, dyt_bench.testing\n"
        f"assert not {set(MODULES)} & set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:dyt", "-c", script], check=True
    )


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Call the command in a process that finds the plug-in; its warnings are on stderr."""
    folder = tmp_path_factory.mktemp("version1")
    with warnings.catch_warnings(action="ignore"):
        import dyt_version1
    environment = dyt_version1.install(folder / "site")
    (folder / "suite.yaml").write_text(SUITE)

    def called(*arguments):
        command = [sys.executable, "-W", "default::DeprecationWarning", "-m", "dyt_bench"]
        return subprocess.run(
            [*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True
        )

    called.folder = folder
    return called


@pytest.mark.slow
def test_the_plugin_is_found(bench):
    listed = bench("domains", "--json")
    found = json.loads(listed.stdout)
    assert "veteran" not in found["broken"]
    assert list(found["domains"]["veteran"]["datasets"]) == ["noise", "folder", "more-noise"]
    assert "clip" in found["variants"]
    assert "dyt_bench.domain is dyt_bench.plugin.domain since contract version 2" in listed.stderr
    plugins = {each["name"]: each for each in json.loads(bench("plugins", "--json").stdout)}
    assert all(not plugins[name]["problem"] for name in ("clip", "steps", "veterans"))
    assert plugins["clip"]["warnings"] == [
        "'clip' is registered in the group 'dyt_bench.norms', which is now called "
        "'dyt_bench.variants'"
    ]


@pytest.mark.slow
def test_the_plugin_passes_the_check(bench):
    checked = bench("check", "veteran", "--json")
    (results,) = json.loads(checked.stdout).values()
    broken = [result for result in results if result["state"] == "broken"]
    assert broken == []
    assert checked.returncode == 0
    kept = {result["rule"] for result in results if result["state"] == "kept"}
    assert {"contract", "trains", "variants", "resume", "reference"} <= kept


@pytest.mark.slow
def test_the_plugin_trains(bench):
    run = bench("run", "suite.yaml", "--json")
    assert run.returncode == 0, run.stderr
    page = (bench.folder / ".dyt-bench" / "results" / "veterans" / "README.md").read_text()
    section = page.split("## Veterans")[1]
    assert "- clip of veteran/line" in section
    assert "EndedRun.norm is EndedRun.variant since contract version 2" in run.stderr
