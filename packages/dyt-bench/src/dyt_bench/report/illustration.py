"""An illustration of the report's pages: a figure or picture with its caption."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from dyt_bench.errors import printable, shortened
from dyt_bench.report.figures.style import svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Illustration:
    """What a page shows under one caption; nothing but the caption if the rest is empty."""

    caption: str
    svg: str = ""  # an <svg> element
    chart: Mapping[str, Any] | None = None  # of `dyt_bench.report.charts`
    png: str = ""  # a PNG file's content, in base64
    tiny: bool = False  # whether the picture's single pixels are to be seen
    file: str = ""  # where README.md finds it, below the report's folder

    @classmethod
    def of(cls, caption: str, figure: "Figure", file: str = "") -> "Illustration":
        """A figure drawn in the web page's theme."""
        return cls(caption, svg=svg(figure, escape(caption, quote=True)), file=file)


def attempt(draw: Callable[[], object]) -> str:
    """Draw something; why it could not be drawn, on one line, or nothing."""
    try:
        with warnings.catch_warnings():
            # A letter that the font lacks is drawn as a box; nobody can do anything about it.
            warnings.filterwarnings("ignore", "Glyph ")
            draw()
    except Exception as error:  # drawing takes text and numbers from records
        return shortened(printable(f"{type(error).__name__}: {error}"))
    return ""
