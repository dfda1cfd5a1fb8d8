"""JSON files that are written whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any


def write_json(path: Path, content: object) -> None:
    """Replace ``path`` in one move: a reader, or a crash, never sees half a file."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(partial, path)


def read_json(path: Path) -> Any | None:
    """What the file holds; None if there is none."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
