"""Suite files as YAML 1.2: read, with the line of every place, and written."""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, DuplicateKeyError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from dyt_bench.errors import UserError

Place = Sequence[str | int]  # keys and indices on the way from the top: ["tasks", 0, "models", 1]


class Document:
    """A parsed YAML file.

    Args:
        path: the file's, for messages.
        text: what the file holds.

    Attributes:
        content: dictionaries, lists and scalars.

    Raises:
        UserError: the text is not valid YAML, or gives a key twice; names the line.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        try:
            self._root: Node | None = _yaml().compose(text)
            self.content: Any = _yaml().load(text)
        except DuplicateKeyError as error:
            raise self._at(error, error.problem) from None
        except MarkedYAMLError as error:
            raise self._at(error, f"not valid YAML: {error.problem}") from None
        except ReaderError as error:
            number = text.count("\n", 0, error.position) + 1
            found = f"the character {chr(error.character)!r}"
            raise UserError(f"{path}:{number}: not valid YAML: {found} is not allowed") from None

    def error(self, where: Place, message: str) -> UserError:
        """One sentence: file, line, place, message."""
        place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in where).lstrip(".")
        return UserError(f"{self.path}:{self.line(where)}: {place}: {message}")

    def line(self, where: Place) -> int:
        """The line of the deepest place on the way to ``where`` that exists, counted from 1."""
        node, line = self._root, 1
        for part in where:
            if isinstance(node, MappingNode):
                pair = next((pair for pair in node.value if pair[0].value == part), None)
                if pair is None:
                    break
                line, node = pair[0].start_mark.line + 1, pair[1]
            elif isinstance(node, SequenceNode) and isinstance(part, int):
                node = node.value[part]
                line = node.start_mark.line + 1
        return line

    def _at(self, error: MarkedYAMLError, message: str) -> UserError:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        return UserError(f"{self.path}{line}: {message}")


def to_yaml(content: object) -> str:
    """The text of a document that holds ``content``: dictionaries, lists and scalars."""
    yaml = _yaml()
    yaml.default_flow_style = None  # collections of scalars on one line, the others on several
    yaml.sort_base_mapping_type_on_output = False
    yaml.allow_unicode = True
    text = StringIO()
    yaml.dump(content, text)
    return text.getvalue()


class _Constructor(SafeConstructor):
    """ruamel.yaml's, with a line for the errors that it raises without one."""

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, TypeError, AttributeError):  # a date such as 2001-99-99
            value = repr(node.value) if isinstance(node, ScalarNode) else "a collection"
            kind = str(node.tag).rpartition(":")[2]
            problem = f"{value} is not a value of the type {kind}"
            raise ConstructorError(None, None, problem, node.start_mark) from None

    def check_mapping_key(
        self, node: Node, key_node: Node, mapping: Any, key: Any, value: Any
    ) -> bool:
        if key in mapping:
            problem = f"key {key!r} is given twice"
            raise DuplicateKeyError(None, None, problem, key_node.start_mark)
        return True


def _yaml() -> Any:
    """A new parser: one that has read a document keeps its %YAML version for the next."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    return yaml
