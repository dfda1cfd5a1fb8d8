"""Scalars of YAML 1.2's core schema: what a word without quotes stands for.

``yes`` and ``1_000`` are text, ``010`` is ten, ``1e-3`` is a number.
"""

import re
from collections.abc import Callable
from math import isfinite
from typing import Any

from ruamel.yaml.resolver import VersionedResolver

from dyt_bench.errors import quoted

PREFIX = "tag:yaml.org,2002:"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")  # no file can hold these


def _integer(text: str) -> int:
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _number(text: str) -> float:
    value = float(text.replace(".inf", "inf").replace(".nan", "nan"))
    if not isfinite(value):
        raise ValueError(f"{quoted(text)} is no finite number")
    return value


# Kind -> pattern, characters that it can begin with, and what reads it. The first that fits counts.
_KINDS: dict[str, tuple[re.Pattern[str], str, Callable[[str], Any]]] = {
    "null": (re.compile(r"^(?:~|null|Null|NULL|)$"), "~nN", lambda text: None),
    "bool": (
        re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"),
        "tTfF",
        lambda text: text.lower() == "true",
    ),
    "int": (re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), "-+0123456789", _integer),
    "float": (
        re.compile(
            r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        "-+.0123456789",
        lambda text: _number(text.lower()),
    ),
    "str": (re.compile(""), "", str),
}


def scalar(text: str, plain: bool, tag: str | None) -> Any:
    """The value of a scalar.

    Args:
        plain: it has no quotes.
        tag: its own, if it has one: ``tag:yaml.org,2002:int``.

    Raises:
        ValueError: it is no value of the tag's type, no finite number, or holds a character that
            no text file can.
    """
    if _CONTROL.search(text):
        raise ValueError(f"{quoted(text)} holds a control character or half of a pair")
    if tag is None:
        kind = next(kind for kind in _KINDS if fits(kind, text)) if plain else "str"
    elif (kind := tag.removeprefix(PREFIX)) not in _KINDS or not tag.startswith(PREFIX):
        raise ValueError(f"could not determine a constructor for the tag {quoted(tag)}")
    wrong = f"{quoted(text)} is not a value of the type {kind}"
    if not fits(kind, text):
        raise ValueError(wrong)
    if kind == "int" and len(text) > 1000:
        raise ValueError(f"{wrong}: it has more than 1,000 digits")
    return _KINDS[kind][2](text)


def fits(kind: str, text: str) -> bool:
    """Whether the text is a value of that kind."""
    return _KINDS[kind][0].match(text) is not None


class Resolver(VersionedResolver):
    """Tells the writer which texts need quotes, to be read again as text."""

    @property
    def versioned_resolver(self) -> Any:
        found: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
        for kind, (pattern, firsts, _) in _KINDS.items():
            for first in firsts:
                found.setdefault(first, []).append((PREFIX + kind, pattern))
        return {**found, "": [(PREFIX + "null", _KINDS["null"][0])]}
