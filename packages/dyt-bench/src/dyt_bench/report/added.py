"""Sections that packages add: Markdown with PNG files for one page, HTML with SVG for the other."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dyt_bench.discovery.extensions import SECTIONS
from dyt_bench.plugin.extensions import Collected, Plot, Section
from dyt_bench.plugin.reporting import Look
from dyt_bench.report.figures.style import LIGHT, WEB, drawn, looks
from dyt_bench.report.illustration import Illustration
from dyt_bench.verdicts.words import escaped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZE = (5.2, 3.2)  # inches


@dataclass(frozen=True)
class AddedSection:
    """A section for both pages; one that failed says so in its text."""

    name: str
    title: str
    markdown: str
    figures: tuple[Illustration, ...] = ()

    @property
    def html(self) -> str:
        """The text for report.html, without HTML, scripts and pictures from elsewhere."""
        from markdown_it import MarkdownIt

        # "js-default" shows HTML in the text as text.
        return str(MarkdownIt("js-default").disable("image").render(self.markdown))


def add_sections(names: Sequence[str], collected: Collected, folder: Path) -> list[AddedSection]:
    """The sections that are not None; their PNG files go to ``figures/`` in ``folder``.

    For one that fails, the page has a sentence with the reason, and stderr the traceback.
    """
    made = [_add(name, collected, folder) for name in names]
    return [section for section in made if section is not None]


def _add(name: str, collected: Collected, folder: Path) -> AddedSection | None:
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
    except Exception as error:  # the rest of the report must not fail with it
        logging.getLogger(__name__).warning("section %r failed", name, exc_info=True)
        why = " ".join(f"{type(error).__name__}: {error}".split())
        return AddedSection(name, name, f"This section could not be made: {escaped(why)}")
    return AddedSection(name, section.title, section.text, figures)


def _draw(plot: Plot, variants: Sequence[str], file: str, folder: Path) -> Illustration:
    with drawn(LIGHT):
        _figure(plot, looks(variants, LIGHT)).savefig(folder / file)
    with drawn(WEB):
        return Illustration.of(plot.caption, _figure(plot, looks(variants, WEB)), file)


def _figure(plot: Plot, look: Mapping[str, Look]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")  # the labels' sizes are not known
    plot.draw(figure.subplots(), look)
    return figure
