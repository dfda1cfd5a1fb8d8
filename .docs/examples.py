"""Lets the reference show a docstring's ``Example:`` as code, as it shows ``Examples:``."""

from typing import Any

import griffe


class Examples(griffe.Extension):
    """Renames the section before the docstrings are parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
