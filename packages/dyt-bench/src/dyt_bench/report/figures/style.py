"""How figures look: colours and markers by variant, a theme for PNG and one for the web page."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dyt_bench.plugin.reporting import Look
from dyt_bench.verdicts.runs import BASELINE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = 64  # of a PNG
MARKERS = ("o", "s", "D", "^", "v", "P")  # distinguishable without colour


@dataclass(frozen=True)
class Theme:
    """Colours that depend on the background."""

    ink: str  # text and the baseline
    faint: str  # axes, ticks, grid
    band: str  # floors and margins
    paper: str
    variants: tuple[str, ...]  # of all other variants


# Okabe and Ito's colours, which colour-blind readers can distinguish.
LIGHT = Theme(
    ink="#333333",
    faint="#8a8a8a",
    band="#e4e4e4",
    paper="#ffffff",
    variants=("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
)
# On the web page the style sheet decides: `svg` replaces these colours by its variables.
WEB = Theme(
    ink="#010203",
    faint="#040506",
    band="#070809",
    paper="#0a0b0c",
    variants=tuple(f"#0d0e{i:02x}" for i in range(len(LIGHT.variants))),
)
VARIABLES = {
    WEB.ink: "var(--ink)",
    WEB.faint: "var(--faint)",
    WEB.band: "var(--band)",
    WEB.paper: "var(--paper)",
    **{colour: f"var(--variant-{i})" for i, colour in enumerate(WEB.variants)},
}


_USUAL = ("dyt", "dyt tuned", "dyt calibrated", "dyt calibrated tuned", "native factor")


def looks(variants: Sequence[str], theme: Theme) -> dict[str, Look]:
    """Variant label -> look, in order of appearance, the baseline first.

    Those of `_USUAL` look alike in all figures; the others share what is left.
    """
    others = [variant for variant in dict.fromkeys(variants) if variant != BASELINE]
    usual = {name: place for place, name in enumerate(_USUAL) if name in others}
    count = len(theme.variants)
    left = [place for place in range(count) if place not in usual.values()]
    # Each colour left, then each with another marker, and so on; with none left, all of them so.
    pairs = product(range(0 if left else 1, len(MARKERS)), left or range(count))
    rest = cycle(pairs)
    found = {BASELINE: Look(theme.ink, "o")}
    for variant in others:
        turn, place = (0, usual[variant]) if variant in usual else next(rest)
        marker = MARKERS[(place + turn) % len(MARKERS)]
        found[variant] = Look(theme.variants[place], marker)
    return found


@contextmanager
def drawn(theme: Theme) -> Iterator[None]:
    """A context in which matplotlib's figures take the theme's style."""
    import matplotlib

    style: dict[Any, Any] = {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.edgecolor": theme.faint,
        "axes.facecolor": "none",
        "axes.labelcolor": theme.ink,
        "axes.titlecolor": theme.ink,
        "axes.linewidth": 0.8,
        "text.color": theme.ink,
        "xtick.color": theme.faint,
        "ytick.color": theme.faint,
        "xtick.labelcolor": theme.ink,
        "ytick.labelcolor": theme.ink,
        "text.parse_math": False,  # names of models, paths and variants may hold a dollar
        "figure.dpi": 130,
        "figure.facecolor": "none" if theme is WEB else theme.paper,
        "svg.fonttype": "none",  # text stays text: it scales, can be searched and read aloud
        "svg.hashsalt": "dyt-bench",  # equal figures, equal files
    }
    with matplotlib.rc_context(style):
        yield


def new_figure(
    width: float,
    height: float,
    *,
    left: float = 0.62,
    right: float = 0.08,
    top: float = 0.1,
    bottom: float = 0.48,
) -> "Figure":
    """A figure of ``width`` by ``height`` inches with these margins, in inches; no window opens.

    Fixed margins are free; tight ones would have to be found by drawing the figure twice.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        top=1 - top / height,
        bottom=bottom / height,
        wspace=0.12,
    )
    return figure


def save(figure: "Figure", file: Path, **options: Any) -> None:
    """Write the figure as a PNG of 64 colours, which takes a third of the bytes.

    The theme's are among them: a variant that takes little room would else have a colour of its
    own in each figure.
    """
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", **options)
    with Image.open(buffer) as image:
        coloured = image.convert("RGB")
        own = bytes.fromhex("".join((*LIGHT.variants, *_plain(LIGHT))).replace("#", ""))
        others = coloured.quantize(_COLOURS - len(own) // 3).getpalette("RGB")
        palette = Image.new("P", (1, 1))
        palette.putpalette([*own, *(others or ())])
        few = coloured.quantize(palette=palette, dither=Image.Dither.NONE)
        few.save(file, format="png", optimize=True)


def _plain(theme: Theme) -> tuple[str, ...]:
    """The colours of a theme that are no variant's."""
    return theme.ink, theme.faint, theme.band, theme.paper


def room_for(labels: Sequence[str]) -> float:
    """Inches that these tick labels need at the left."""
    return 0.12 + 0.085 * max(len(label) for label in labels)


def svg(figure: "Figure", label: str) -> str:
    """The figure as an <svg> element for a page whose style sheet defines `VARIABLES`.

    ``label`` is read by screen readers; it must be escaped already.
    """
    buffer = io.StringIO()
    nothing: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.S)
    # Ids repeat from figure to figure. Only those with references to them are needed, and of these
    # equal ids belong to equal drawings.
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
