"""The report in a real browser: hover, sort, filter, hide, axes, downloads, widths, print.

Screenshots go to the folder that DYT_BENCH_SCREENSHOTS names.
"""

import csv
import io
import os
import shutil
from pathlib import Path

import pytest

from dyt_bench.discovery.domains import discover
from dyt_bench.plugin.task import AA, Run, Task, Variant
from dyt_bench.records.workspace import SuiteRuns
from dyt_bench.report import write_report

from .test_report import make_record

CHROMIUM = shutil.which("chromium")
HOW = "needs a browser: apt-get install chromium; pip install playwright (nox -s tests_browser)"
WIDTHS = (420, 800, 1100, 1350, 1920)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason=HOW)]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Two models, three variants, three seeds."""
    folder, found = tmp_path_factory.mktemp("report"), discover()
    metric = found.domain("vision").metric
    records, timings = [], {}
    for m, model in enumerate(("vit", "convnext")):
        for seed in range(3):
            task = Task(
                domain="vision",
                model=model,
                dataset="digits",
                seed=seed,
                steps=20,
                batch_size=4,
                learning_rate=1e-3,
                val_every=10,
                code_digest=found.code_digest("vision"),
            )
            for v, name in enumerate(("native", "dyt", "derf")):
                run = Run(task=task, variant=Variant(name=name))
                values = [0.1, 0.5, 0.9 - 0.05 * v * m + seed / 1000]
                summary = {"blind/val/acc": 0.1, "time/step_ms_median": 5.0 + v}
                records.append(make_record(folder, run, metric, values, summary=summary))
            seconds = {"native": [1.0, 1.1] * 5, "dyt": [0.9, 1.0] * 5, "derf": [1.2, 1.3] * 5}
            timings[task.identity] = {**seconds, AA: [1.0, 1.1] * 5}
    write_report(SuiteRuns("Two models", []), records, found, folder / "out", timings)
    return folder / "out" / "report.html"


@pytest.fixture
def open_page(report, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason=HOW)
    with playwright.sync_playwright() as running:
        # As root, in a container, Chromium's sandbox does not start.
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        said = []

        def opened(width=1350, scheme="light", **options):
            page = browser.new_page(
                viewport={"width": width, "height": 900}, color_scheme=scheme, **options
            )
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.goto(report.as_uri())
            page.wait_for_selector("figure svg")
            return page

        yield opened
        browser.close()
        assert said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_every_width(open_page, tmp_path, width, scheme):
    page = open_page(width, scheme)
    folder = Path(os.environ.get("DYT_BENCH_SCREENSHOTS", tmp_path))
    page.screenshot(path=folder / f"report-{width}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for box in (svg.bounding_box() for svg in page.locator("figure svg").all()):
        assert box["x"] + box["width"] <= width
    # The answer and the first verdict are on the first screen.
    assert page.locator("p.answer").bounding_box()["y"] < 300
    cell = page.locator(".heat .cell").first.bounding_box()
    assert cell["y"] + cell["height"] < 900
    assert cell["x"] + cell["width"] <= width


def test_hover_tells_the_values(open_page):
    page = open_page()
    figure = page.locator("figure", has_text="vision/vit: top-1 accuracy").first
    figure.locator("svg").scroll_into_view_if_needed()
    box = figure.locator("svg").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + 80)
    told = page.locator(".tip").inner_text()
    assert "training step 20" in told
    assert "native: 0.901 (0.9 to 0.902)" in told


def test_a_variant_hides_in_charts_and_tables(open_page):
    page = open_page()
    rows = page.locator("#verdicts table.data").first.locator("tbody tr:visible")
    assert rows.count() == 4
    page.locator(".legend button", has_text="derf").click()
    assert rows.count() == 2
    assert "derf" not in page.locator("figure svg").first.text_content()
    page.locator(".legend button", has_text="derf").click()
    assert rows.count() == 4


def test_a_table_sorts_and_filters(open_page):
    page = open_page()
    table = page.locator("#verdicts table.data").first
    values = table.locator("tbody tr:visible td[data-name='value']")
    head = table.locator("th button", has_text="value")
    head.click()
    assert values.all_inner_texts() == sorted(values.all_inner_texts())
    head.click()
    assert values.all_inner_texts() == sorted(values.all_inner_texts(), reverse=True)
    page.locator("#verdicts input[type=search]").first.fill("convnext dyt")
    assert values.count() == 1


def test_axes_change(open_page):
    page = open_page()
    figure = page.locator("figure", has_text="vision/vit: top-1 accuracy").first
    ticks = figure.locator("svg text").all_text_contents()
    figure.get_by_text("whole course").click()
    assert figure.locator("svg text").all_text_contents() != ticks
    figure.get_by_text("log y").click()
    assert "0.1" in figure.locator("svg text").all_text_contents()


def test_csv_and_png_are_downloaded(open_page):
    page = open_page()
    figure = page.locator("figure", has_text="vision/vit: top-1 accuracy").first
    with page.expect_download() as waiting:
        figure.get_by_text("CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text())))
    assert len(rows) == 9
    assert {row["variant"] for row in rows} == {"native", "dyt", "derf"}
    with page.expect_download() as waiting:
        figure.get_by_text("PNG").click()
    assert Path(waiting.value.path()).read_bytes().startswith(b"\x89PNG")
    with page.expect_download() as waiting:
        page.locator("#verdicts .tools button").first.click()
    rows = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text())))
    assert [row["variant"] for row in rows] == ["dyt", "derf"] * 2


def test_it_prints_with_all_that_is_folded(open_page, tmp_path):
    page = open_page(scheme="dark")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    assert len(page.pdf(path=tmp_path / "report.pdf")) > 10_000
