"""Suite files as YAML 1.2: read, with the line of every place, and written.

What a file asks for is bounded: its length, its depth, and its values with every alias written out.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
)
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scanner import Scanner, ScannerError

from dyt_bench.errors import UserError, quoted, shortened
from dyt_bench.suite.scalars import PREFIX, Resolver, scalar

Place = Sequence[str | int]  # keys and indices on the way from the top: ["tasks", 0, "models", 1]

MOST_CHARACTERS = 2**16  # the largest that is shipped has 4,000
MOST_VALUES = 10_000  # with those that aliases repeat; the parser reads some 2,000 a second
MOST_DEPTH = 20  # a suite needs five
_TOO_DEEP = f"lists and mappings lie at most {MOST_DEPTH} deep in each other"
_SHOWN = 40  # characters of a key in the name of a place


class Document:
    """A parsed YAML file.

    Args:
        path: the file's, for messages.
        text: what the file holds.

    Attributes:
        content: dictionaries with text as keys, lists and scalars.

    Raises:
        UserError: the text is not valid YAML 1.2, gives a key twice, or is too long or too deep;
            names the line.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        if len(text) > MOST_CHARACTERS:
            raise UserError(
                f"{path} is too long for a suite: it has more than {MOST_CHARACTERS:,} characters"
            )
        try:
            composed = _Composer(_events(text))
        except _Wrong as wrong:
            raise UserError(f"{path}:{wrong.line}: {wrong}") from None
        self.content: Any = composed.content
        self._lines = composed.lines

    def error(self, where: Place, message: str) -> UserError:
        """One sentence: file, line, place, message."""
        place = "".join(f"[{p}]" if isinstance(p, int) else f".{_shown(p)}" for p in where)
        return UserError(f"{self.path}:{self.line(where)}: {place.lstrip('.')}: {message}")

    def line(self, where: Place) -> int:
        """The line of the deepest place on the way to ``where`` that exists, counted from 1."""
        ways = (tuple(where[:length]) for length in range(len(where), 0, -1))
        return next((self._lines[way] for way in ways if way in self._lines), 1)


def to_yaml(content: object) -> str:
    """The text of a document that holds ``content``: dictionaries, lists and scalars."""
    yaml = _yaml()
    yaml.Resolver = Resolver
    yaml.default_flow_style = None  # collections of scalars on one line, the others on several
    yaml.sort_base_mapping_type_on_output = False
    yaml.allow_unicode = True
    text = StringIO()
    yaml.dump(content, text)
    return text.getvalue()


def slug(name: str) -> str:
    """The name in the form that suites' and files' names must have."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "suite"


class _Scanner(Scanner):
    """ruamel.yaml's, which looks 1,024 characters ahead, in time that grows with open brackets."""

    def fetch_flow_collection_start(self, *args: Any, **kwargs: Any) -> None:
        if self.flow_level >= MOST_DEPTH:
            raise ScannerError(None, None, _TOO_DEEP, self.reader.get_mark())
        super().fetch_flow_collection_start(*args, **kwargs)


class _Wrong(Exception):
    """What is wrong with a text, and in which line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class _Node:
    """A value; of a collection also how many values it holds in all, and how deep they lie."""

    content: Any
    values: int = 1
    depth: int = 0


class _Composer:
    """Events of the parser -> content, and the line of every place.

    It stops at the first event beyond the bounds: the parser reads no further than it is asked to.
    """

    def __init__(self, events: Iterator[Any]) -> None:
        self.events = events
        self.lines: dict[tuple[str | int, ...], int] = {}
        self.anchors: dict[str, _Node | None] = {}  # None: not read to its end
        self.values = 0
        starts = (event for event in events if isinstance(event, DocumentStartEvent))
        self.content = self._document(next(starts, None))
        if (another := next(starts, None)) is not None:
            raise _invalid(another, "but found another document")

    def _document(self, start: Any) -> Any:
        if start is None:
            return None
        if start.version not in (None, (1, 2)):
            raise _Wrong(1, "a suite file is YAML 1.2: remove the line %YAML")
        return self._node(next(self.events), ()).content

    def _node(self, event: Any, where: tuple[str | int, ...]) -> _Node:
        self.lines.setdefault(where, _line(event))
        if isinstance(event, AliasEvent):
            return self._repeated(event, where)
        self._count(event, 1, len(where))
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        if isinstance(event, ScalarEvent):
            node = _Node(_scalar(event))
        else:
            mapping = isinstance(event, MappingStartEvent)
            _check_tag(event, "map" if mapping else "seq")
            node = self._mapping(where) if mapping else self._sequence(where)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _repeated(self, event: Any, where: tuple[str | int, ...]) -> _Node:
        if event.anchor not in self.anchors:
            raise _invalid(event, f"found undefined alias {quoted(event.anchor)}")
        node = self.anchors[event.anchor]
        if node is None:
            raise _invalid(event, f"the alias {quoted(event.anchor)} stands in what it repeats")
        self._count(event, node.values, len(where) + node.depth)
        return node

    def _count(self, event: Any, values: int, depth: int) -> None:
        self.values += values
        if self.values > MOST_VALUES:
            said = f"a suite holds at most {MOST_VALUES:,} values, with those that aliases repeat"
            raise _Wrong(_line(event), said)
        if depth > MOST_DEPTH:
            raise _Wrong(_line(event), _TOO_DEEP)

    def _sequence(self, where: tuple[str | int, ...]) -> _Node:
        items: list[_Node] = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            items.append(self._node(event, (*where, len(items))))
        return _collection([item.content for item in items], items)

    def _mapping(self, where: tuple[str | int, ...]) -> _Node:
        items: dict[str, _Node] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            key = _scalar(event) if isinstance(event, ScalarEvent) else None
            if not isinstance(key, str):
                got = quoted(key) if isinstance(event, ScalarEvent) else "a collection or an alias"
                raise _invalid(event, f"a key must be text, got {got}")
            if key in items:
                raise _Wrong(_line(event), f"key {quoted(key)} is given twice")
            self.lines[(*where, key)] = _line(event)
            items[key] = self._node(next(self.events), (*where, key))
        return _collection({key: item.content for key, item in items.items()}, items.values())


def _collection(content: Any, items: Collection[_Node]) -> _Node:
    values = 1 + sum(item.values for item in items)
    return _Node(content, values, 1 + max((item.depth for item in items), default=0))


def _scalar(event: Any) -> Any:
    tag = None if event.tag == "!" else event.tag  # "!" makes a word text, as quotes do
    try:
        return scalar(event.value, plain=event.tag is None and event.implicit[0], tag=tag)
    except ValueError as error:
        raise _invalid(event, str(error)) from None


def _check_tag(event: Any, kind: str) -> None:
    if event.tag not in (None, PREFIX + kind):
        raise _invalid(event, f"could not determine a constructor for the tag {quoted(event.tag)}")


def _events(text: str) -> Iterator[Any]:
    """What the parser reports, as it reads on.

    Raises:
        _Wrong: the text is not valid YAML.
    """
    line = 1
    try:
        for event in _yaml().parse(text):
            line = _line(event)
            yield event
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else line
        raise _Wrong(line, f"not valid YAML: {shortened(error.problem)}") from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        said = f"the character {quoted(chr(error.character))} is not allowed"
        raise _Wrong(line, f"not valid YAML: {said}") from None
    except (ValueError, OverflowError):  # "\\UFFFFFFFF", which is no character; %YAML 999...
        raise _Wrong(line, "not valid YAML: a number is out of range") from None


def _invalid(event: Any, message: str) -> _Wrong:
    return _Wrong(_line(event), f"not valid YAML: {message}")


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _shown(key: str) -> str:
    """A key in the name of a place, on one line and not too long."""
    return shortened(key[:_SHOWN])


def _yaml() -> Any:
    """A new parser or writer: one that has read a document keeps its %YAML version."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner = _Scanner
    return yaml
