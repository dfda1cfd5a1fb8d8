"""An illustration of the report's pages: a figure or picture with its caption."""

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from dyt_bench.report.figures.style import svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Illustration:
    """What a page shows under one caption; nothing but the caption if the rest is empty."""

    caption: str
    svg: str = ""  # an <svg> element
    png: str = ""  # a PNG file's content, in base64
    file: str = ""  # where README.md finds it, below the report's folder

    @classmethod
    def of(cls, caption: str, figure: "Figure", file: str = "") -> "Illustration":
        """A figure drawn in the web page's theme."""
        return cls(caption, svg=svg(figure, escape(caption, quote=True)), file=file)
