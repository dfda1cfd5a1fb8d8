"""The READMEs and the documentation, and the blocks of code in them.

Read by markdown-it, as the report's pages are. Not by sybil or mktestdocs: they know fenced blocks
alone, and here indented commands, commands in the text and quotations of files are tested, too.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / ".docs/pages").rglob("*.md")),
    *sorted((ROOT / "packages").glob("*/README.md")),
    *sorted((ROOT / "tests/plugins").glob("*/README.md")),
    *sorted((ROOT / "results").rglob("README.md")),
]


@dataclass(frozen=True)
class Block:
    """A block of code; an indented one is of commands."""

    language: str
    code: str
    source: str = ""  # the file that it quotes, which a comment above it names


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").parse(page.read_text())


def blocks(page: Path) -> list[Block]:
    """Every block of a page, in order."""
    found, before = [], None
    for token in _tokens(page):
        if token.type == "code_block":
            found.append(Block("sh", token.content))
        elif token.type == "fence":
            comment = before.content if before is not None and before.type == "html_block" else ""
            source = re.fullmatch(r"<!-- (\S+) -->\n", comment)
            found.append(Block(token.info.strip(), token.content, source[1] if source else ""))
        before = token
    return found


def prose(page: Path) -> str:
    """The text of a page, without its blocks."""
    return "\n".join(token.content for token in _tokens(page) if token.type == "inline")
