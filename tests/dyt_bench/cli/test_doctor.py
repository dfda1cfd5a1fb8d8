"""The doctor says what works and, of what does not, why."""

import json
import sqlite3
import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest
from click.testing import CliRunner

from dyt.variants import VARIANTS
from dyt_bench.cli import doctor, main
from dyt_bench.cli.doctor import Finding, examine, is_healthy
from dyt_bench.discovery.domains import Discovery
from dyt_bench.records.workspace import Workspace
from dyt_tiny import Tiny


class Crooked(Tiny):
    name = "crooked"
    preload = ("dyt_tiny.broken",)


@pytest.fixture(scope="module")
def findings(tiny, tmp_path_factory):
    values = {"tiny": "dyt_tiny:domain", "crooked": "crooked:domain", "bad": "worse:domain"}
    found = Discovery(
        EntryPoint(name, value, "dyt_bench.domains") for name, value in values.items()
    )
    module = ModuleType("crooked")
    module.domain = Crooked()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "crooked", module)
        found.loaded("crooked").warnings.append("importing it took 30.0 s")
    workspace = Workspace(tmp_path_factory.mktemp("doctor") / "not" / "there")
    sections = examine(found, workspace, None)
    assert not workspace.folder.exists()
    return sections


def by_group(section):
    return {finding.about: finding for finding in section}


@pytest.mark.slow
def test_plugins_are_imported_as_a_run_would(findings):
    plugins = by_group(findings["plugins"])
    assert plugins["domain tiny"] == Finding("domain tiny", "dyt_tiny:domain")
    assert plugins["domain bad"].state == "problem"
    assert "No module named 'worse'" in plugins["domain bad"].text
    crooked = [each for each in findings["plugins"] if each.about == "domain crooked"]
    assert [each.text for each in crooked] == [
        "RuntimeError: this module is broken",
        "importing it took 30.0 s",
    ]
    assert [each.state for each in crooked] == ["problem", "note"]
    assert plugins["variants"].text == ", ".join(sorted(VARIANTS))
    assert not is_healthy(findings)


@pytest.mark.slow
def test_kernels_work_or_say_why_not(findings):
    kernels = by_group(findings["kernels"])
    assert kernels["eager"].text == "works"
    assert set(kernels) == {"eager", "cpu", "triton", "binding"}
    assert all(finding.text for finding in kernels.values())


@pytest.mark.slow
def test_the_machine_is_described(findings):
    machine = by_group(findings["machine"])
    assert {"device", "threads", "memory", "disk", "others"} <= set(machine)
    assert "usable cores" in machine["threads"].text
    assert by_group(findings["software"])["torch"].text


@pytest.mark.slow
def test_the_tracking_store_answers_or_not(tmp_path, findings):
    assert "the first run makes it" in findings["tracking"][0].text
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("CREATE TABLE runs (run_uuid)")
        connection.execute("INSERT INTO runs VALUES ('a')")
    connection.close()
    workspace = Workspace(tmp_path)
    assert doctor._tracking(None, workspace).text.endswith("mlflow.db holds 1 runs")
    dead = doctor._tracking("http://127.0.0.1:9", workspace)
    assert dead.state == "problem"
    assert "does not answer" in dead.text


def test_the_command_prints_and_tells_by_its_status(monkeypatch):
    well = {"kernels": [Finding("cpu", "works")]}
    ill = {"kernels": [Finding("cpu", "not compiled", "problem")]}
    monkeypatch.setattr(doctor, "examine", lambda *_: well)
    result = CliRunner().invoke(main, ["doctor"])
    assert (result.exit_code, result.stdout) == (0, "kernels\n  ✓ cpu              works\n")
    monkeypatch.setattr(doctor, "examine", lambda *_: ill)
    result = CliRunner().invoke(main, ["doctor", "--json"])
    assert result.exit_code == 1
    described = json.loads(result.stdout)
    assert described["findings"]["kernels"][0]["text"] == "not compiled"
    assert described["healthy"] is False
