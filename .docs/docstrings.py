"""Lets the reference read docstrings as this project writes them.

``Example:`` is shown as code, as ``Examples:`` is; and ``a, b: what both are`` in a list of
arguments is an entry for each.
"""

import re
from typing import Any

import griffe

# Two names and more, their text, and the lines that continue it, which are indented further.
_SHARED = re.compile(r"^( +)(\w+(?:, \w+)+): (.*(?:\n\1 +.*)*)", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Rewrites docstrings before they are parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            text = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
            obj.docstring.value = _SHARED.sub(_each, text)


def _each(entry: re.Match[str]) -> str:
    indent, names, text = entry.groups()
    return "\n".join(f"{indent}{name}: {text}" for name in names.split(", "))
