"""Imports of the harness at any depth of the syntax tree: rooms that report, and cycles anywhere.

Imports inside functions and those for types alone count as much as those at the top of a file.
"""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

HARNESS = Path(__file__).parents[2] / "packages/dyt-bench/src/dyt_bench"
BELOW = {"errors", "plugin", "records"}
# Room -> the other rooms that it may import.
ROOMS = {
    "plugin": {"errors"},
    "verdicts": BELOW,
    "tracking": BELOW | {"verdicts"},
    # What domains and plug-ins say of themselves, and how suites are written.
    "report": BELOW | {"verdicts", "discovery", "suite"},
    # It runs a suite, in an executor, and logs to MLflow.
    "efficiency": BELOW
    | {"verdicts", "discovery", "suite", "report", "training", "tracking", "executors"},
}
DRAWING = {"matplotlib", "PIL"}


def name_of(file):
    parts = file.relative_to(HARNESS.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in HARNESS.rglob("*.py")}


def imported(file):
    """Every module that a file imports, whether of this package or not; submodules by name."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, file
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in MODULES else node.module)
    return found


def rooms_of(modules):
    return {name.split(".")[1] for name in modules if name.startswith("dyt_bench.")}


def test_an_import_inside_a_function_or_for_types_is_seen(tmp_path):
    file = tmp_path / "module.py"
    file.write_text(
        "if TYPE_CHECKING:\n    from dyt_bench import verdicts\n"
        "def f():\n    class A:\n        import dyt_bench.report.page as p\n"
    )
    assert imported(file) == {"dyt_bench.verdicts", "dyt_bench.report.page"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_below_it(room):
    for name, file in MODULES.items():
        if name.split(".")[1:2] == [room]:
            assert rooms_of(imported(file)) <= ROOMS[room] | {room}, name


def test_tracking_draws_nothing():
    for name, file in MODULES.items():
        if name.startswith("dyt_bench.tracking"):
            libraries = {each.partition(".")[0] for each in imported(file)}
            assert not libraries & DRAWING, name


def test_no_module_of_the_harness_imports_itself_through_others():
    graph = {name: imported(file) & MODULES.keys() for name, file in MODULES.items()}
    assert len(graph) > 100
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError, with the cycle
