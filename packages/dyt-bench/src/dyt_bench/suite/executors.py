"""Executors by name, made with their options: those of the suite, and the user's own.

The user's own are in ``executors.yaml``, in the folder for settings (``DYT_BENCH_SETTINGS`` names
another file): for each executor a mapping. What a suite says goes before it.
"""

import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from dyt_bench.discovery.domains import unknown
from dyt_bench.discovery.extensions import EXECUTORS, LOCAL
from dyt_bench.errors import UserError, quoted
from dyt_bench.executors.contract import Bytes, Executor, Seconds
from dyt_bench.suite.document import Document
from dyt_bench.suite.values import Duration, Number, Size

SETTINGS = "DYT_BENCH_SETTINGS"
# Annotation of an executor's option -> the type of the value in a file.
_TYPES: dict[Any, Any] = {Bytes: Size, Seconds: Duration, float: Number}


class Wrong(Exception):
    """An option is unknown, or its value is of the wrong type."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


def make_executor(name: str, options: Mapping[str, Any], preload: Sequence[str]) -> Executor:
    """The executor called ``name`` with a suite's checked options, and the user's own.

    Raises:
        UserError: the user's own are wrong, or the executor cannot be used here.
    """
    executor: Any = EXECUTORS.load(name)
    own = {} if name == LOCAL else user_options(name)
    made: Executor = executor(preload, **{**own, **options})
    return made


def checked_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the executor takes them; raises Wrong for the first that it does not."""
    executor = EXECUTORS.load(name)
    known = {
        key: parameter
        for key, parameter in inspect.signature(executor).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    hints = get_type_hints(executor.__init__)
    found = {}
    for key, value in options.items():
        if key not in known:
            said = unknown(f"option of the executor {name}", key, known)
            raise Wrong(key, said if known else f"the executor {name} takes no options")
        found[key] = _checked(key, value, hints.get(key, Any))
    return found


def _checked(key: str, value: Any, hint: Any) -> Any:
    hint = next((each for each in get_args(hint) if each in _TYPES), hint)
    hint = _TYPES.get(hint, hint)
    try:
        return TypeAdapter(hint).validate_python(value, strict=not _is_text_of(hint, value))
    except ValidationError as error:
        text = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise Wrong(key, f"{text[0].lower()}{text[1:]}, got {quoted(value)}") from None


def _is_text_of(hint: Any, value: Any) -> bool:
    return hint in (Size, Duration) and isinstance(value, str | int | float)


def user_options(name: str) -> dict[str, Any]:
    """What the user's own file says of the executor; empty if there is no such file.

    Raises:
        UserError: the file cannot be read, or an option is wrong.
    """
    path = settings_path()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot read the settings {path}: {said}") from None
    document = Document(path, text)
    content = {} if document.content is None else document.content
    own = content.get(name, {}) if isinstance(content, dict) else None
    if not isinstance(own, dict):
        raise document.error([name], "expected for each executor a mapping of its options")
    try:
        return checked_options(name, own)
    except Wrong as wrong:
        raise document.error([name, wrong.option], str(wrong)) from None


def settings_path() -> Path:
    """Where the user's own options of executors are, or would be."""
    import platformdirs

    given = os.environ.get(SETTINGS)
    return Path(given) if given else platformdirs.user_config_path("dyt-bench") / "executors.yaml"
