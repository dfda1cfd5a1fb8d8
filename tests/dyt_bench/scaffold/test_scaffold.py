"""A new domain's package: written whole or not at all, and it runs as it is."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from dyt_bench import scaffold
from dyt_bench.cli import main
from dyt_bench.discovery.domains import discover
from dyt_bench.tracking import IDENTITY_TAG

pytestmark = pytest.mark.slow

LONGEST = "a" + "-b1" * 13  # 40 characters
ROOT = Path(__file__).parents[3]


@pytest.fixture
def cli(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def called(*arguments):
        return CliRunner().invoke(main, ["new-domain", *arguments])

    return called


@pytest.fixture
def weather(cli, tmp_path):
    """The folder of a package as it was written."""
    assert cli("weather").exit_code == 0
    return tmp_path / "dyt-weather"


def registered(package, site):
    """The environment of a process that finds the package as if pip had installed it."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    metadata = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    about = {"Metadata-Version": "2.1", "Name": project["name"], "Version": project["version"]}
    text = "".join(f"{key}: {value}\n" for key, value in about.items())
    (metadata / "METADATA").write_text(text)
    ((group, points),) = project["entry-points"].items()
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{lines}")
    return {**os.environ, "PYTHONPATH": f"{package / 'src'}{os.pathsep}{site}"}


def dyt_bench(*arguments, folder, environment):
    """What the command says, as JSON."""
    run = subprocess.run(
        [sys.executable, "-m", "dyt_bench", *arguments, "--json"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(run.stdout)


def test_what_was_written_is_reported(cli, tmp_path):
    result = cli("small-molecules", "--to", "made/here")
    folder = tmp_path / "made" / "here" / "dyt-small-molecules"
    assert (folder / "src" / "dyt_small_molecules" / "py.typed").exists()
    assert (
        "\nclass SmallMoleculesDomain(Domain):\n"
        in (folder / "src" / "dyt_small_molecules" / "__init__.py").read_text()
    )
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert lines[0].startswith("made/here/dyt-small-molecules: 14 files")
    assert lines[-3].endswith("install -e made/here/dyt-small-molecules")
    assert lines[-2].endswith("check small-molecules")
    assert lines[-1].endswith("run made/here/dyt-small-molecules/suite.yaml")


def test_json_reports_the_same(cli, tmp_path):
    reported = json.loads(cli("weather", "--json").stdout)
    folder = tmp_path / reported["folder"]
    there = [path for path in folder.rglob("*") if path.is_file()]
    assert {str(path.relative_to(folder)) for path in there} == set(reported["files"])
    assert (reported["distribution"], reported["package"]) == ("dyt-weather", "dyt_weather")
    assert len(reported["commands"]) == 3


def test_commands_fit_the_shell(monkeypatch, tmp_path):
    """Short where the shell finds this interpreter's, else by the interpreter's path."""
    monkeypatch.delenv("NOX_CURRENT_SESSION", raising=False)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert scaffold._next("x", Path("dyt-x"))[1] == "dyt-bench check x"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert scaffold._next("x", Path("dyt-x"))[1] == f"{sys.executable} -m dyt_bench check x"
    monkeypatch.chdir(ROOT)
    commands = scaffold._next("x", Path("packages/dyt-x"))
    assert commands[1] == "nox -s bench -- packages/dyt-x/suite.yaml"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Weather_Map", "a domain's name is at most 40 lower-case letters"),
        ("Weather_Map", "got 'Weather_Map': try 'weather-map'"),
        ("dyt_weather", "try 'weather'"),
        ("a--b", "try 'a-b'"),
        ("../up", "try 'up'"),
        ("7", "begins with a letter, got '7'\n"),
        ("x" * 41, "at most 40"),
        ("", "got ''"),
        ("class", "'class' is a word of Python's own"),
        ("match", "'match' is a word of Python's own"),
        ("vision", "there is a domain 'vision' already, of dyt-vision"),
        ("bench", "there is a package dyt-bench already"),
        ("core", "there is a package dyt-core already"),
    ],
)
def test_a_name_that_will_not_do_is_one_sentence_and_leaves_nothing(cli, name, message):
    result = cli("--", name)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_nothing_is_overwritten(cli, kind):
    there = Path("dyt-weather")
    {
        "folder": there.mkdir,
        "file": there.touch,
        "link": lambda: there.symlink_to("nowhere"),
    }[kind]()
    result = cli("weather")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "dyt-weather is there already" in result.stderr
    assert [path.name for path in Path.cwd().iterdir()] == ["dyt-weather"]
    assert kind != "folder" or not list(there.iterdir())


def test_it_is_written_whole_or_not_at_all(cli, monkeypatch):
    write, written = Path.write_text, []

    def fails_later(path, *arguments, **options):
        written.append(path)
        if len(written) == 5:
            raise OSError(28, "No space left on device")
        return write(path, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", fails_later)
    result = cli("weather")
    assert (result.exit_code, len(written)) == (2, 5)
    assert "cannot write dyt-weather: No space left on device; name another" in result.stderr
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("name", ["a", "weather", LONGEST])
def test_style_is_kept_whatever_the_name(cli, name):
    assert len(LONGEST) == 40
    assert cli(name).exit_code == 0
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
        run = subprocess.run(ruff, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr


# What in the example stands for a model, a data set and a reference score that exist already.
EXISTING = {"Transformer", "waves", "persistence"}


# The files that every domain has. Others may lie beside them, each with one clear subject.
SHAPE = {
    "__init__.py",
    "catalog.py",
    "data/__init__.py",
    "data/datamodule.py",
    "evaluation.py",
    "module.py",
    "reference.py",
}


def shape(package):
    """Which files of the shape a package has; models may be a module or a package."""
    assert (package / "models.py").exists() != (package / "models" / "__init__.py").exists()
    return {name for name in SHAPE if (package / name).exists()}


def test_it_has_the_shape_of_a_domain_and_the_readme_explains_it(weather):
    package = weather / "src" / "dyt_weather"
    files = {str(path.relative_to(package)) for path in package.rglob("*.py")}
    assert files == SHAPE | {"models.py", "data/waves.py"}
    readme = (weather / "README.md").read_text()
    explained = set(re.findall(r"^\| `(.+?)` \|", readme, re.MULTILINE))
    assert explained == {path.name for path in package.glob("*.py")} | {"data/"}


DOMAINS = ("vision", "diffusion", "speech", "dna", "llm", "molecules")
SAME_SHAPE = [ROOT / f"packages/dyt-{name}/src/dyt_{name}" for name in DOMAINS]


@pytest.mark.parametrize("package", SAME_SHAPE, ids=lambda package: package.name)
def test_domains_of_this_repository_have_the_same_shape(package):
    evaluates = "def evaluate(" in (package / "__init__.py").read_text()
    assert shape(package) == (SHAPE if evaluates else SHAPE - {"evaluation.py"})


@pytest.mark.parametrize("package", SAME_SHAPE, ids=lambda package: package.name)
def test_a_catalog_is_read_without_torch(package):
    heavy = "{'torch', 'lightning', 'transformers', 'numpy'} & {*sys.modules}"
    code = f"import sys, {package.name}.catalog; sys.exit(bool({heavy}))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_its_types_are_strict(weather):
    pytest.importorskip("mypy", reason="`nox -s types` has it")
    options = ["--config-file", str(weather / "pyproject.toml"), "--cache-dir", os.devnull]
    mypy = [sys.executable, "-m", "mypy", *options, str(weather / "src")]
    run = subprocess.run(mypy, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def own_lines(path):
    """Lines of code around what exists; imports, docstrings, comments and blank lines left out."""
    text = path.read_text()
    code, left_out = set(), set()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.stmt):
            continue
        lines = range(node.lineno, node.end_lineno + 1)
        code.update(lines)
        if (
            isinstance(node, ast.Import | ast.ImportFrom)
            or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
            or getattr(node, "name", "") in EXISTING
        ):
            left_out.update(lines)
    written = [line.strip() for line in text.splitlines()]
    return [
        line
        for number, line in enumerate(written, start=1)
        if number in code - left_out and line and not line.startswith("#")
    ]


def test_around_a_model_and_a_data_set_that_exist_there_is_little_to_write(weather):
    assert sum(len(own_lines(path)) for path in (weather / "src").rglob("*.py")) <= 60


def test_it_runs_as_it_is_and_mlflow_has_the_runs(weather, tmp_path):
    from mlflow import MlflowClient

    environment = registered(weather, tmp_path / "site")
    listing = dyt_bench("domains", folder=tmp_path, environment=environment)
    assert "weather" in listing["domains"]
    assert not listing["broken"]
    assert not listing["warnings"]
    summary = dyt_bench(
        "run", "dyt-weather/suite.yaml", "--steps", "8", folder=tmp_path, environment=environment
    )
    assert [run["status"] for run in summary["runs"]] == ["finished"] * 6
    runs = MlflowClient(summary["tracking_uri"]).search_runs([summary["experiment_id"]])
    runs = [run for run in runs if IDENTITY_TAG in run.data.tags]
    assert {run.data.tags["variant"] for run in runs} == {"native", "dyt"}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert Path(summary["report"]).exists()


def test_its_names_are_refused_once_it_is_installed(weather, tmp_path, monkeypatch, cli):
    registered(weather, tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert "weather" in discover().names
    result = cli("weather", "--to", "elsewhere")
    assert "there is a domain 'weather' already, of dyt-weather 0.1.0" in result.stderr


def test_the_suite_reads_well(weather, tmp_path):
    environment = registered(weather, tmp_path / "site")
    plan = dyt_bench("plan", "dyt-weather/suite.yaml", folder=tmp_path, environment=environment)
    assert [run["label"] for run in plan["runs"]] == [
        f"weather/transformer/waves/s{seed} {variant}"
        for seed in range(3)  # fewer give no verdict
        for variant in ("native", "dyt")
    ]
    assert {run["steps"] for run in plan["runs"]} == {200}


@pytest.mark.slow
def test_installed_with_pip_it_keeps_every_rule_and_runs(weather, tmp_path):
    """Pip fetches what builds it."""
    site = str(tmp_path / "site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site]
    subprocess.run([*pip, str(weather)], check=True)
    environment = {**os.environ, "PYTHONPATH": site}
    checked = dyt_bench("check", "weather", folder=tmp_path, environment=environment)
    assert {verdict["state"] for verdict in checked["transformer"]} <= {"kept", "note"}
    summary = dyt_bench("run", "dyt-weather/suite.yaml", folder=tmp_path, environment=environment)
    assert [run["status"] for run in summary["runs"]] == ["finished"] * 6
