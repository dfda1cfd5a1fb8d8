"""`dyt-bench check`: a line a rule on stderr, JSON for programs, 0, 1 or 2."""

import json
import sys

import pytest
from click.testing import CliRunner

from dyt_bench.cli import main
from dyt_bench.testing import RULES, check


@pytest.fixture
def cli(monkeypatch):
    """With the rules that build nothing."""
    cheap = [rule for rule in RULES if rule.name in ("contract", "import")]
    monkeypatch.setattr(check, "RULES", cheap)

    def called(*arguments):
        return CliRunner().invoke(main, ["check", *arguments])

    return called


def test_an_installed_domain_is_checked_by_name(cli):
    result = cli("vision", "--json")
    assert result.exit_code == 0
    (results,) = json.loads(result.stdout).values()
    assert [(result["rule"], result["state"]) for result in results] == [
        ("contract", "kept"),
        ("import", "kept"),
    ]


def test_a_broken_rule_is_explained_and_ends_with_1(cli):
    result = cli("dyt_defects.heavy:domain")
    assert result.exit_code == 1
    assert "✗ import" in result.stderr
    for said in (
        "rule:   Importing the domain",
        "why:    ",
        "seen:   Importing",
        "change: Import and",
    ):
        assert said in result.stderr


def test_a_domain_need_not_be_installed(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "uninstalled.py").write_text(
        "import dyt_defects\n\n\nclass Mine(dyt_defects.Healthy):\n    pass\n\n\ndomain = Mine()\n"
    )
    assert cli("uninstalled:domain").exit_code == 0


def test_what_is_no_domain_breaks_the_contract(cli):
    result = cli("json:dumps")
    assert result.exit_code == 1
    assert "The object is a function, not a dyt_bench.plugin.domain.Domain object." in result.stderr


def test_models_are_checked_one_by_one(cli):
    result = cli("vision", "--model", "vit", "--model", "convnext", "--json")
    assert list(json.loads(result.stdout)) == ["vit", "convnext"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["visoin"], "unknown domain 'visoin': expected one of"),
        (["vision", "--model", "vti"], "unknown model 'vti'"),
        (["vision", "--dataset", "digit"], "did you mean 'digits'"),
        (["vision", "--path", "x"], "data set 'digits' takes no path"),
        (["vision", "--dataset", "folder", "--path", "x"], "x does not exist"),
        (["vision", "--dataset", "folder"], "give path"),
        (["nowhere:domain"], "importing nowhere raised ModuleNotFoundError"),
        (["dyt_defects:nothing"], "dyt_defects has no object 'nothing'"),
    ],
)
def test_a_mistake_is_one_sentence_and_ends_with_2(cli, arguments, message):
    result = cli(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("dyt-bench: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
