"""What the import contracts (pyproject.toml) do not say: weight, shape, first lines, packages."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    folder.name: folder
    for folder in (ROOT / "packages").glob("*/src/*")
    if folder.is_dir() and folder.name != "__pycache__"
}
DOMAINS = sorted(set(PACKAGES) - {"dyt", "dyt_bench", "dyt_images"})
HEAVY = {"torch", "lightning", "mlflow", "pandas", "matplotlib", "scipy", "numpy"}
SHAPE = {"__init__", "catalog", "models", "data", "module", "reference"}


def imports(file, *, top_level_only=False):
    """Top-level packages that a file imports."""
    tree = ast.parse(file.read_text())
    found = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_the_layer_imports_torch_alone():
    found = set().union(*(imports(file) for file in PACKAGES["dyt"].rglob("*.py")))
    assert found - sys.stdlib_module_names <= {"dyt", "torch", "triton"}


def test_the_harness_is_rooms():
    modules = {file.stem for file in PACKAGES["dyt_bench"].glob("*.py")}
    assert modules == {"__init__", "__main__", "errors"}


@pytest.mark.parametrize("name", DOMAINS)
def test_domains_have_one_shape(name):
    folder = PACKAGES[name]
    found = {entry.stem for entry in folder.iterdir() if entry.suffix in ("", ".py")}
    assert found >= SHAPE
    assert (folder / "data" / "datamodule.py").exists()


@pytest.mark.parametrize("name", [*DOMAINS, "dyt_images"])
@pytest.mark.parametrize("module", ["__init__", "catalog"])
def test_what_planning_imports_stays_light(name, module):
    assert not imports(PACKAGES[name] / f"{module}.py", top_level_only=True) & HEAVY


def test_every_module_says_in_its_first_line_what_is_in_it():
    for folder in PACKAGES.values():
        for file in folder.rglob("*.py"):
            first = file.read_text().splitlines()[0]
            assert first.startswith('"""'), file
            assert len(first) > 20, file


def test_every_package_is_typed_and_installable():
    for folder in PACKAGES.values():
        assert (folder / "py.typed").exists()
        assert (folder.parents[1] / "pyproject.toml").exists()
        assert (folder.parents[1] / "README.md").exists()
