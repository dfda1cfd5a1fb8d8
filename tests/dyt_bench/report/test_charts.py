"""The charts' data, the numbers that a spreadsheet gets, and the page's colours."""

import csv
import io
import math
import re
from importlib.resources import files

import pytest

from dyt_bench.report import charts
from dyt_bench.report.csv import _csv
from dyt_bench.report.figures.curves import smoothed
from dyt_bench.report.figures.style import LIGHT, looks

CSS = files("dyt_bench.report").joinpath("report.css").read_text()


class Run:
    """What a chart takes of a run."""

    def __init__(self, variant, curve):
        self.variant, self.points = variant, curve

    def curve(self, metric):
        return self.points


def test_a_curve_has_mean_and_range_over_seeds_and_its_end():
    runs = [Run("dyt", [(0, 1.0), (10, 0.2)]), Run("dyt", [(0, 3.0), (10, 0.4)]), Run("native", [])]
    chart = charts._curves(runs, "val/loss", "loss", smooth=False)
    (series,) = chart["series"]
    assert (series["x"], series["y"]) == ([0, 10], [2.0, 0.3])
    assert (series["low"], series["high"]) == ([1.0, 0.2], [3.0, 0.4])
    assert chart["ends"]
    assert charts.training([Run("native", [])]) is None  # no empty panel


def test_a_long_curve_keeps_its_ends():
    points = [(float(step), 1 / (1 + step)) for step in range(5000)]
    (series,) = charts.training([Run("native", points)])["series"]
    assert len(series["x"]) == charts._POINTS
    assert (series["x"][0], series["x"][-1]) == (0, 4999)
    assert series["y"][-1] == pytest.approx(smoothed(points)[-1][1], rel=1e-5)


def test_a_value_that_is_no_number_is_none():
    assert charts._short(math.nan) is None
    assert charts._ends((0.1, math.inf)) == {}


def test_the_profile_is_the_share_of_models_within_a_ratio():
    chart = charts.profile({"native": [1.0, 1.0], "dyt": [1.2, math.inf]})
    dyt = chart["series"][1]
    at = max(i for i, x in enumerate(dyt["x"]) if x <= 1.3)
    assert dyt["y"][at] == 50
    assert dyt["x"][-1] == pytest.approx(1.5)


def test_csv_quotes_and_makes_no_formula():
    text = _csv([{"a": '=SUM("x")', "b": -1.5}, {"a": "plain, text", "c": None}])
    assert list(csv.reader(io.StringIO(text))) == [
        ["a", "b", "c"],
        ['\'=SUM("x")', "-1.5", ""],
        ["plain, text", "", ""],
    ]


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    """As WCAG 2.2 defines it."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def palettes():
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.S)
    for block in (light, dark):
        named = re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})\b", block)
        yield {name: c if len(c) == 7 else "#" + "".join(2 * h for h in c[1:]) for name, c in named}


@pytest.mark.parametrize("palette", list(palettes()), ids=["light", "dark"])
def test_contrast_is_that_of_level_aa(palette):
    words = ("better", "worse", "equivalent", "undetermined")
    for paper in ("paper", "card"):
        for text in ("ink", "faint", *words):
            assert contrast(palette[text], palette[paper]) >= 4.5, (text, paper)
        for i in range(6):
            assert contrast(palette[f"variant-{i}"], palette[paper]) >= 3, i
    for word in words:
        assert contrast(palette[word], palette[f"{word}-cell"]) >= 4.5, word
        assert contrast(palette["ink"], palette[f"{word}-cell"]) >= 4.5, word


def test_usual_variants_look_alike_in_every_figure_and_no_two_look_the_same():
    few = looks(["native", "dyt calibrated", "derf"], LIGHT)
    many = looks(["derf", "dyt", "dyt calibrated", "native factor", *map(str, range(8))], LIGHT)
    assert few["dyt calibrated"] == many["dyt calibrated"]
    assert list(many)[:2] == ["native", "derf"]
    assert few["derf"].colour not in (few["dyt calibrated"].colour, few["native"].colour)
    assert len({(own.colour, own.marker) for own in many.values()}) == len(many)
