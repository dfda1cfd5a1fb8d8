"""The versions that are claimed are those that `nox -s minimums` and its workflow install."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from ruamel.yaml import YAML

from dyt._kernels.cpu_autograd.binding import RELEASES

ROOT = Path(__file__).parents[2]
PROJECTS = {
    file.parent.name: tomllib.loads(file.read_text())["project"]
    for file in sorted((ROOT / "packages").glob("*/pyproject.toml"))
}


def constant(name):
    """A constant of noxfile.py, which is read, for nox need not be installed."""
    for node in ast.parse((ROOT / "noxfile.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise AssertionError(name)


def key(version):
    return tuple(map(int, version.split(".")))


PAIRS = [pair.split("-") for pair in constant("PAIRS")]


def requirements(project):
    optional = project.get("optional-dependencies", {}).values()
    return [*project["dependencies"], *(each for group in optional for each in group)]


BOUNDS = [
    (package, requirement.split(">=")[0], requirement)
    for package, project in PROJECTS.items()
    for requirement in requirements(project)
    if re.match(r"[\w-]+", requirement)[0] not in PROJECTS
]


def test_the_pairs_are_a_diagonal_from_what_is_claimed_to_the_newest():
    pythons, torches = ([key(version) for version in side] for side in zip(*PAIRS, strict=True))
    assert pythons == sorted(pythons)
    assert set(pythons) == {(3, minor) for minor in range(11, pythons[-1][1] + 1)}
    assert torches == [(2, minor) for minor in range(torches[0][1], torches[0][1] + len(PAIRS))]
    oldest = ".".join(map(str, torches[0]))
    assert PROJECTS["dyt-core"]["dependencies"] == [f"torch>={oldest}"]
    assert {p["requires-python"] for p in PROJECTS.values()} == {f">={constant('OLDEST')}"}
    assert pythons[0] == key(constant("OLDEST"))


def test_the_binding_is_tried_with_every_pytorch_of_the_pairs():
    assert [torch for _, torch in PAIRS] == list(RELEASES)


def test_the_newest_pytorch_of_the_pairs_is_the_one_that_the_gate_tests():
    pinned = re.search(r"^torch==(.*)$", (ROOT / ".ci/constraints.txt").read_text(), re.MULTILINE)
    assert key(pinned[1])[:2] == key(PAIRS[-1][1])


def test_the_workflow_runs_all_pairs_and_has_their_pythons():
    workflow = YAML(typ="safe").load((ROOT / ".github/workflows/versions.yml").read_text())
    job = workflow["jobs"]["minimums"]
    assert job["strategy"]["matrix"]["pair"] == [*constant("PAIRS"), "lowest"]
    set_up = next(step["with"] for step in job["steps"] if "with" in step)
    assert set(set_up["python-version"].split()) == {python for python, _ in PAIRS}
    assert job["steps"][-1]["run"] == "nox -s minimums -- ${{ matrix.pair }}"


@pytest.mark.parametrize(("package", "name", "requirement"), BOUNDS)
def test_a_dependency_has_one_bound_in_all_packages(package, name, requirement):
    """So that one environment with the lowest versions tries every bound."""
    assert re.fullmatch(r"[\w.-]+(\[\w+\])?>=[\d.]+", requirement)
    assert {each for _, other, each in BOUNDS if other == name} == {requirement}


def released(package):
    """The version of one of our packages, as its files say."""
    if "version" in (project := PROJECTS[package]):
        return project["version"]
    (source,) = (ROOT / "packages" / package / "src").glob("*/__init__.py")
    return re.search(r'^__version__ = "(.*)"', source.read_text(), re.MULTILINE)[1]


@pytest.mark.parametrize("package", PROJECTS)
def test_our_packages_require_each_other_as_they_were_tested_together(package):
    for requirement in map(Requirement, requirements(PROJECTS[package])):
        if requirement.name in PROJECTS:
            major, minor, _ = map(int, released(requirement.name).split("."))
            assert requirement.specifier.contains(f"{major}.{minor}.0")
            assert not requirement.specifier.contains(f"{major}.{minor + 2}.0")


@pytest.mark.parametrize("package", PROJECTS)
def test_a_package_says_what_the_index_shows(package):
    project = PROJECTS[package]
    folder = ROOT / "packages" / package
    pythons = {c.rpartition(" :: ")[2] for c in project["classifiers"] if "Python :: 3." in c}
    assert pythons == {python for python, _ in PAIRS}
    assert project["authors"]
    assert project["urls"]
    assert (folder / "LICENSE").is_file()
    changelog = (folder / "CHANGELOG.md").read_text()
    assert f"## {released(package)}" in changelog


def test_the_hooks_before_a_commit_have_the_version_of_the_gate():
    hooks = YAML(typ="safe").load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    pinned = re.search(r"^ruff==.*$", (ROOT / ".ci/constraints.txt").read_text(), re.MULTILINE)
    for hook in hooks[0]["hooks"]:
        assert hook["additional_dependencies"] == [pinned[0]]


def test_workflows_call_sessions_that_there_are():
    defined = {
        node.name
        for node in ast.parse((ROOT / "noxfile.py").read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    for file in (ROOT / ".github/workflows").glob("*.yml"):
        for job in YAML(typ="safe").load(file.read_text())["jobs"].values():
            called = {
                name
                for step in job["steps"]
                for name in re.findall(r"nox -s (\w+)", step.get("run", ""))
            }
            called |= set(job["strategy"]["matrix"].get("session", ()))
            assert called
            assert called <= defined, file.name


def test_a_new_domain_claims_no_older_version_than_the_harness():
    template = "packages/dyt-bench/src/dyt_bench/scaffold/templates/pyproject.toml.jinja"
    claimed = set(re.findall(r'"((?:lightning|torch)>=.*)"', (ROOT / template).read_text()))
    assert claimed <= set(PROJECTS["dyt-bench"]["dependencies"])
    assert len(claimed) == 2
