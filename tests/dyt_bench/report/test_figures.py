"""The pictures of README.md: every title inside, no empty panel, the theme's own colours."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from dyt_bench.plugin.domain import Metric
from dyt_bench.report.figures import budgets, curves, effects
from dyt_bench.report.figures.style import LIGHT, drawn, looks, new_figure, save
from dyt_bench.verdicts.budgets import Budget, Trend
from dyt_bench.verdicts.runs import TaskGroup
from dyt_bench.verdicts.standings import Standing
from dyt_bench.verdicts.statistics import compare

LONG = Metric(
    name="val/loss", mode="min", title="loss (nats/base; of classes, nats/sequence)", margin=0.02
)


def rgb(colour):
    return tuple(bytes.fromhex(colour[1:]))


def group(steps=350):
    return TaskGroup(
        domain="dna",
        model="hyena-w64",
        dataset="species",
        path="",
        steps=steps,
        batch_size=4,
        learning_rate=1e-3,
        training="default",
        train_samples=None,
        val_every=10,
    )


def run_of(variant):
    points = [(0, 1.4), (175, 0.9), (350, 0.6)]
    return SimpleNamespace(group=group(), variant=variant, curve=lambda metric: points)


def drawn_texts(figure):
    """What is written, with its place in the picture."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for axes in figure.axes:
        for text in (axes.title, axes._left_title):
            if text.get_text():
                yield text.get_text(), text.get_window_extent()


def test_the_title_of_a_metric_in_many_words_stays_in_the_picture():
    runs = [run_of("native"), run_of("dyt")]
    with drawn(LIGHT):
        figure = curves.sheet(runs, {group(): "dna/hyena-w64, 1400 steps"}, {"dna": LONG}, LIGHT)
        titles = dict(drawn_texts(figure))
        legend = figure.legends[0].get_window_extent()
    assert any(LONG.title in title for title in titles)
    for title, place in titles.items():
        assert place.x1 <= figure.bbox.x1, title
        assert place.y1 <= legend.y0, title


@pytest.mark.parametrize(("models", "columns"), [(1, 1), (2, 2), (4, 3)])
def test_trends_leave_no_column_empty(models, columns):
    steps = (Budget(10, 3, 0.9, {"dyt": -0.2}, 0.1), Budget(20, 3, 0.95, {"dyt": -0.1}))
    trends = [Trend(replace(group(0), model=f"m{i}"), LONG, steps) for i in range(models)]
    with drawn(LIGHT):
        figure = budgets.sheet(trends, {t.group: t.group.model for t in trends}, LIGHT)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == models
    assert len({axes.get_position().x0 for axes in shown}) == columns


def test_the_margin_is_shaded_behind_every_gain():
    judged = compare([0.01, 0.02, 0.03], 0.04)
    standing = Standing(
        group=group(),
        name="dna/hyena-w64",
        variant="dyt",
        metric=LONG,
        seeds=(0, 1, 2),
        baseline_last=0.6,
        variant_last=0.58,
        comparison=judged,
        baseline_best=0.6,
        variant_best=0.58,
        best=judged,
        baseline_steps=300,
        variant_steps=280,
        speed=None,
        blind=1.4,  # of which the baseline learned 0.8
    )
    with drawn(LIGHT):
        quality = effects.summary([standing], LIGHT).axes[0]
    (band,) = [line for line in quality.lines if line.get_color() == LIGHT.band]
    assert list(band.get_xdata()) == pytest.approx([-5, 5])


def test_a_variant_has_the_same_colour_in_every_picture(tmp_path):
    """However little room it takes beside the others."""
    look = looks(["native", "dyt", "dyt calibrated", "dyt calibrated tuned"], LIGHT)
    figure = new_figure(4, 3)
    with drawn(LIGHT):
        axes = figure.subplots()
        axes.imshow([range(200)], aspect="auto", cmap="rainbow", extent=(0, 1, 0, 1))
        for place, own in enumerate(look.values()):
            axes.plot([0.1 + place / 10], [0.5], "s", color=own.colour, ms=3)
        save(figure, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        assert len(image.getcolors()) <= 64
        colours = {colour for _, colour in image.convert("RGB").getcolors()}
    for own in look.values():
        assert rgb(own.colour) in colours
