"""Sections that packages add: on both pages, and with the reason where they fail."""

import pytest

from dyt_bench.plugin.extensions import Collected, Plot, Section
from dyt_bench.report import added
from dyt_bench.report.added import add_sections

NOTHING = Collected("title", [], [])
TEXT = """
| variant | <b>loss</b> |
|---|---|
| dyt | 1 |

![spy](http://127.0.0.1/spy.png) and <script>alert(1)</script>
"""


def plotted(collected):
    def draw(axes, looks):
        axes.plot([1, 2], color=looks["native"].colour)

    return Section("Title", TEXT, [Plot("a < b", draw)])


def fail(collected):
    raise RuntimeError("out of *luck*")


def fail_in_the_drawing(collected):
    return Section("Title", plots=[Plot("caption", lambda axes, looks: axes.nothing())])


SECTIONS = {
    "plotted": plotted,
    "failing": fail,
    "undrawn": fail_in_the_drawing,
    "silent": lambda collected: None,
    "odd": lambda collected: "text",
}


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.setattr(added.SECTIONS.__class__, "load", lambda _, name: SECTIONS[name])
    (tmp_path / "figures").mkdir()

    def made(*names):
        return add_sections(names, NOTHING, tmp_path)

    return made


def test_text_and_figures_are_on_both_pages(make, tmp_path):
    (section,) = make("plotted")
    assert (section.title, section.markdown) == ("Title", TEXT)
    (figure,) = section.figures
    assert (tmp_path / figure.file).read_bytes().startswith(b"\x89PNG")
    assert '<svg role="img" aria-label="a &lt; b"' in figure.svg
    assert "var(--ink)" in figure.svg


def test_the_page_loads_nothing_and_runs_nothing(make):
    (section,) = make("plotted")
    assert "<td>dyt</td>" in section.html
    assert "<script" not in section.html
    assert "<img" not in section.html
    assert "<b>" not in section.html


def test_a_section_that_fails_is_replaced_by_the_reason(make, caplog):
    failing, whole, undrawn, odd = make("failing", "plotted", "silent", "undrawn", "odd")
    assert failing.title == "failing"
    assert "<p>This section could not be made: RuntimeError: out of *luck*</p>" in failing.html
    assert whole.title == "Title"
    assert "AttributeError" in undrawn.html
    assert "TypeError: it returned a str" in odd.html
    assert "in fail\n" in caplog.text
