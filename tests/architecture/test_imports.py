"""Which way the arrows point: dyt <- dyt_bench <- dyt_images <- domains, and never back."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    folder.name: folder
    for source in (ROOT / "packages").glob("*/src/*")
    if (folder := source).is_dir() and folder.name != "__pycache__"
}
DOMAINS = {name for name in PACKAGES if name not in ("dyt", "dyt_bench")}
FILES = [file for folder in PACKAGES.values() for file in sorted(folder.rglob("*.py"))]
HEAVY = {"torch", "lightning", "mlflow", "pandas", "matplotlib", "scipy", "numpy"}
# Read by `--help`, `domains` and `plan`, which answer without torch.
LIGHT = ["cli", "cell", "domain", "errors", "environment", "files", "record", "registry"]
LIGHT += ["importing", "scaffold/__init__"]
LIGHT += [
    "runner",
    "sources",
    "suite",
    "workspace",
    "progress",
    "session",
    "tracking/__init__",
    "ui",
]
LIGHT += ["statistics", "tracking/__init__", "datasets", "inventory", "plugins", "points"]
LIGHT += [
    "executors/command",
    "executors/contract",
    "executors/local",
    "executors/running",
    "executors/memory",
]


def imports(file, *, top_level_only=False):
    """Top-level packages a file imports; under TYPE_CHECKING does not count."""
    tree = ast.parse(file.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_arrows(file):
    package = next(name for name, folder in PACKAGES.items() if folder in file.parents)
    ours = imports(file) & set(PACKAGES) - {package}
    allowed = {
        "dyt": set(),
        "dyt_bench": {"dyt"},
        "dyt_images": {"dyt_bench"},
        "dyt_vision": {"dyt", "dyt_bench", "dyt_images"},
        "dyt_diffusion": {"dyt", "dyt_bench", "dyt_images"},
    }.get(package, {"dyt", "dyt_bench"})
    assert ours <= allowed


def test_the_core_imports_torch_alone():
    import sys

    found = set().union(*(imports(file) for file in PACKAGES["dyt"].rglob("*.py")))
    assert found - sys.stdlib_module_names <= {"dyt", "torch", "triton"}


@pytest.mark.parametrize("stem", LIGHT)
def test_planning_stays_light(stem):
    folder = PACKAGES["dyt_bench"]
    files = [*folder.glob(f"{stem}.py"), *folder.glob(f"{stem}/*.py")]
    assert files
    for file in files:
        assert not imports(file, top_level_only=True) & HEAVY, file


@pytest.mark.parametrize("name", sorted(DOMAINS))
def test_domain_objects_stay_light(name):
    assert not imports(PACKAGES[name] / "__init__.py", top_level_only=True) & HEAVY


def test_every_package_is_typed_and_installable():
    for folder in PACKAGES.values():
        assert (folder / "py.typed").exists()
        assert (folder.parents[1] / "pyproject.toml").exists()
        assert (folder.parents[1] / "README.md").exists()
