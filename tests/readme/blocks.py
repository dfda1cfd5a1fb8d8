"""The READMEs, and what is set as code in them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "packages").glob("*/README.md")),
    *sorted((ROOT / "tests/plugins").glob("*/README.md")),
    *sorted((ROOT / "results").rglob("README.md")),
]
_BLOCK = re.compile(
    r"(?:^<!-- (?P<source>\S+) -->\n)?^```(?P<language>.*)\n(?P<code>(?:.*\n)*?)```$"
    r"|(?:(?<=\n\n)|\A)(?P<indented>(?: {4}.*\n)+)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A block of code; an indented one is of commands."""

    language: str
    code: str
    source: str = ""  # the file that a comment above says it is from


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    """Every block of a page, in order."""
    found = []
    for match in _BLOCK.finditer(page.read_text()):
        if match["indented"] is not None:
            found.append(Block("sh", re.sub("^ {4}", "", match["indented"], flags=re.MULTILINE)))
        else:
            found.append(Block(match["language"], match["code"], match["source"] or ""))
    return found


def prose(page: Path) -> str:
    """The page without its blocks."""
    return _BLOCK.sub("", page.read_text())
