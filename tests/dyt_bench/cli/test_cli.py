"""The command line as a person or a program meets it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from dyt.variants import VARIANTS
from dyt_bench.cli import main

SUITE = "default"


@pytest.fixture
def cli(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def called(*arguments):
        return CliRunner().invoke(main, list(arguments))

    return called


def test_domains_lists_what_is_installed_for_programs(cli):
    listing = json.loads(cli("domains", "--json").stdout)
    for name in ("diffusion", "dna", "llm", "speech", "vision"):  # others may be installed, too
        assert listing["domains"][name]["models"]
        assert "folder" in listing["domains"][name]["datasets"]
    assert listing["variants"] == ["native", *sorted(VARIANTS)]


def test_plan_lists_the_runs_for_programs(cli):
    plan = json.loads(cli("plan", SUITE, "--json").stdout)
    assert len(plan["runs"]) >= 10
    assert {run["domain"] for run in plan["runs"]} == {
        "diffusion",
        "dna",
        "llm",
        "speech",
        "vision",
    }
    assert {run["state"] for run in plan["runs"]} == {"waiting"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["domains"], ["plan", SUITE], ["convert", "--help"]]
)
def test_looking_around_does_not_import_torch(arguments):
    script = f"""
import sys
from dyt_bench.cli import main
try:
    main({arguments!r})
except SystemExit as end:
    assert not end.code
heavy = sorted({{"torch", "lightning", "mlflow", "numpy", "pandas", "timm"}} & set(sys.modules))
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nowhere.yaml"], "there is no suite file nowhere.yaml"),
        (["plan", SUITE, "--domain", "dnaa"], "unknown domain 'dnaa'"),
        (["run", SUITE, "--tracking-uri", "ftp://nowhere"], "no MLflow store answers"),
        (["sync", "default"], "no suite called 'default' has run"),
        (["report", "default"], "no suite called 'default' has run"),
        (["ui"], "there is no store"),
        (["convert", "timm"], "write SOURCE:NAME"),
        (["convert", "timm:vit_tiny_patch16_223"], "did you mean 'vit_tiny_patch16_224'"),
        (["convert", "module:json:nothing"], "json has no function 'nothing'"),
        (["convert", "module:json:dumps"], "dumps() missing 1 required positional argument"),
        (["convert", "module:nowhere:model"], "there is no module 'nowhere'"),
        (
            ["convert", "timm:vit_tiny_patch16_224", "--to", "dty"],
            "unknown variant 'dty': expected one of",
        ),
        (["convert", "timm:vit_tiny_patch16_224", "--recipe", "llama"], "another architecture"),
    ],
)
def test_a_mistake_is_one_sentence_status_2_and_leaves_nothing(cli, arguments, message):
    result = cli(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("dyt-bench: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(Path.cwd().iterdir()) == []


def test_an_empty_suite_is_a_mistake(cli):
    Path("empty.yaml").touch()
    result = cli("run", "empty.yaml")
    assert (result.exit_code, result.stderr[:31]) == (2, "dyt-bench: empty.yaml is empty:")
