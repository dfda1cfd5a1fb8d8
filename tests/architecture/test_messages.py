"""What errors and notices quote of a user's files is cut: at most 200 characters of a value.

A class name, a row or what a parser says of a line may be as long as its file. Paths are shown
whole: one that is cut names no file, and the system bounds them.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
READERS = [
    *(file for file in ROOT.glob("packages/*/src/*/**/*.py") if "dyt_bench" not in file.parts),
    *ROOT.glob("packages/dyt-bench/src/dyt_bench/plugin/*.py"),
]
SAID = {"DataError", "UserError", "notice"}


def is_unbounded(value):
    """Whether a value in a message is ``{x!r}``, ``{error}``, ``{str(x)...}`` or a whole list."""
    if value.conversion != -1 or (isinstance(value.value, ast.Name) and value.value.id == "error"):
        return True
    called = {ast.unparse(n.func) for n in ast.walk(value.value) if isinstance(n, ast.Call)}
    is_list = any(name.endswith(".join") for name in called) and "map" in called
    return "repr" in called or is_list


def messages(file):
    """The values in the messages of a file, with their lines."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SAID:
            for part in ast.walk(node):
                if isinstance(part, ast.FormattedValue):
                    yield part


def test_messages_quote_no_value_whole():
    found = [
        f"{file}:{value.lineno}: {ast.unparse(value.value)}"
        for file in READERS
        for value in messages(file)
        if is_unbounded(value)
    ]
    assert len(READERS) > 50
    assert found == []
