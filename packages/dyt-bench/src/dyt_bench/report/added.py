"""Sections that packages add: made once, as Markdown with PNG files and as HTML with SVG."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from dyt_bench.discovery.extensions import SECTIONS
from dyt_bench.plugin.extensions import Collected, Plot, Section
from dyt_bench.report.figures.style import LIGHT, WEB, Look, drawn, looks, svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

_SIZE = (5.2, 3.2)  # inches


@dataclass(frozen=True)
class Figure:
    """A figure of both pages."""

    caption: str
    file: str  # below the report's folder
    drawing: str  # an <svg> element


@dataclass(frozen=True)
class Added:
    """A section as it was made; or why it was not."""

    name: str
    title: str
    markdown: str
    figures: tuple[Figure, ...] = ()

    @property
    def html(self) -> str:
        """The text for the page, escaped; it asks the network for nothing."""
        from markdown_it import MarkdownIt

        # "js-default" takes HTML in the text for text.
        return str(MarkdownIt("js-default").disable("image").render(self.markdown))


def add_sections(names: Sequence[str], collected: Collected, folder: Path) -> list[Added]:
    """The sections that have something to say; their pictures go to ``figures/`` in ``folder``.

    One that fails says so in its place, with its traceback on stderr.
    """
    made = [_add(name, collected, folder) for name in names]
    return [section for section in made if section is not None]


def _add(name: str, collected: Collected, folder: Path) -> Added | None:
    try:
        section = SECTIONS.load(name)(collected)
        if section is None:
            return None
        if not isinstance(section, Section):
            raise TypeError(
                f"it returned a {type(section).__name__}, not a dyt_bench.plugin.extensions.Section"
            )
        variants = [run.variant for run in collected.runs]
        figures = tuple(
            _draw(plot, variants, f"figures/{name}-{number}.png", folder)
            for number, plot in enumerate(section.plots, start=1)
        )
    except Exception as error:  # the report is worth more than a section of it
        logging.getLogger(__name__).warning("section %r failed", name, exc_info=True)
        why = " ".join(f"{type(error).__name__}: {error}".split())
        return Added(name, name, f"This section could not be made: {_plain(why)}")
    return Added(name, section.title, section.text, figures)


def _draw(plot: Plot, variants: Sequence[str], file: str, folder: Path) -> Figure:
    with drawn(LIGHT):
        _figure(plot, looks(variants, LIGHT)).savefig(folder / file)
    with drawn(WEB):
        drawing = svg(_figure(plot, looks(variants, WEB)), escape(plot.caption, quote=True))
    return Figure(plot.caption, file, drawing)


def _figure(plot: Plot, look: Mapping[str, Look]) -> "Drawing":
    from matplotlib.figure import Figure as Drawing

    figure = Drawing(figsize=_SIZE, layout="constrained")  # whatever labels a stranger's has
    plot.draw(figure.subplots(), look)
    return figure


def _plain(text: str) -> str:
    """The text with nothing in it that Markdown would read."""
    return re.sub(r"([\\`*_{}\[\]()#+.!|<>~-])", r"\\\1", text)
