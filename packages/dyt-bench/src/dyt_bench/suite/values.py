"""The types of the values in a suite file: strict, finite, and bounded.

A number is no text and ``true`` no number. The bounds are those of what the values are stored in.
"""

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from dyt_bench.errors import quoted
from dyt_bench.suite.quantities import MOST_COUNT, seconds, size

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]
Text = Annotated[str, Field(max_length=1000)]
Count = Annotated[int, Field(ge=1, le=MOST_COUNT)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Number = Annotated[float, Field(allow_inf_nan=False)]
AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Duration = Annotated[float, BeforeValidator(seconds)]  # "2h"
Size = Annotated[int, BeforeValidator(size)]  # "8GiB"
UserPath = Annotated[str, Field(min_length=1)]  # as written; `located` finds it

_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})")


def located(given: str, base: Path) -> Path:
    """The absolute path that a user means by ``given``, relative to ``base``.

    ``~``, ``~USER`` and ``$NAME`` stand for what they do in a shell, unless there is a file or
    folder of that very name.

    Raises:
        ValueError: no such user or variable, or the system takes no such path.
    """
    try:
        path = base / (given if os.path.lexists(base / given) else _expanded(given))
        path = path.resolve()
        path.exists()
    except (OSError, RuntimeError) as error:  # too long; links in a circle
        reason = getattr(error, "strerror", None) or "its links lead in a circle"
        raise ValueError(f"the path {quoted(given)} cannot be used: {reason}") from None
    return path


def _expanded(given: str) -> str:
    for match in _VARIABLE.finditer(given):
        name = match[1] or match[2]
        if name not in os.environ:
            raise ValueError(
                f"the path {quoted(given)} names an environment variable that is not set: "
                f"{quoted(name)}"
            )
    expanded = os.path.expanduser(given)
    if expanded == given and given.startswith("~"):
        raise ValueError(f"the path {quoted(given)} names the home of a user who is not here")
    return os.path.expandvars(expanded)
