"""MLflow's page of a suite in a real browser.

The views are in a format that MLflow does not document, so only its page can show whether they
work. Screenshots go to the folder that DYT_BENCH_SCREENSHOTS names.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from dyt_bench.discovery.domains import discover
from dyt_bench.plugin.atomic import write_json
from dyt_bench.report.group import write_group
from dyt_bench.tracking.sync import sync_suites

from .conftest import a_run

CHROMIUM = shutil.which("chromium")
PATIENCE_MS = 240_000  # a page of MLflow's is 27 MB of script
HOW = "needs a browser: apt-get install chromium; pip install playwright (nox -s tests_browser)"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason=HOW),
]


@pytest.fixture
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason=HOW)
    playwright.expect.set_options(timeout=PATIENCE_MS)
    with playwright.sync_playwright() as running:
        # As root, in a container, Chromium's sandbox does not start.
        launched = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1600, "height": 2000})
    page.set_default_timeout(PATIENCE_MS)
    return page


@pytest.fixture
def shoot(tmp_path):
    folder = Path(os.environ.get("DYT_BENCH_SCREENSHOTS", tmp_path / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)

    def shot(name, of):
        of.screenshot(path=folder / f"{name}.png", timeout=PATIENCE_MS)

    return shot


@contextmanager
def ui(workspace):
    """`dyt-bench ui`; the address that it prints."""
    command = [sys.executable, "-m", "dyt_bench", "ui", "--no-browser"]
    command += ["--workspace", str(workspace.folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as server:
        try:
            yield next(found[0] for line in server.stdout if (found := re.search(r"http\S+", line)))
        finally:
            os.killpg(server.pid, signal.SIGINT)


@pytest.fixture
def compared(workspace, suite):
    """A workspace whose suite is in its store, timed and drawn."""
    for seed in (0, 1):
        native, dyt = (a_run(variant, seed) for variant in ("native", "dyt"))
        seconds = {"native": [1.0] * 11, "A/A": [1.0] * 11, "dyt": [0.9] * 11}
        write_json(workspace.timing_path(native.task, [native.variant, dyt.variant]), seconds)
    sync_suites([], workspace, workspace.tracking_uri, discover().metric, write_group)
    return workspace


def test_a_reader_sees_the_variants_compared(compared, page, shoot):
    from playwright.sync_api import expect

    with ui(compared) as address:
        page.goto(address)
        curve = page.locator(".js-plotly-plot .scatterlayer .trace")
        curve.first.wait_for()
        sections = r"result\s*\(1\).*learning curves\s*\(2\).*cost\s*\(2\).*diagnostics\s*\(2\)"
        body = page.locator("body")
        expect(body).to_contain_text(re.compile(sections, re.S), timeout=PATIENCE_MS)
        for title in (
            "vit 1 result/val acc",
            "vit 2 curves/train loss",
            "vit 3 cost/step time ratio",
            "vit 4 diagnostics/alpha by layer",
        ):
            page.get_by_text(title, exact=True).first.wait_for()
        text = page.inner_text("body")
        assert "Group: native" in text
        assert "Group: dyt" in text
        assert "Made up" in text
        # Both variants are drawn, each with its own curve, and with a bar.
        plot = page.locator(".js-plotly-plot", has=page.locator(".scatterlayer")).first
        assert plot.locator(".scatterlayer .trace").count() >= 2
        assert page.locator(".js-plotly-plot .barlayer .bars .point").count() >= 2
        shoot("overview", page)

        page.goto("about:blank")  # the same page with another hash would not load anew
        page.goto(address.replace("=overview", "=vision-vit"))
        curve.first.wait_for()
        page.get_by_text("train/loss", exact=True).first.wait_for()
        text = page.inner_text("body")
        assert "vision/vit/digits/s0 dyt" in text
        assert "Group: native\n2" in text
        shoot("seed-by-seed", page)


def test_a_reader_clicks_from_the_list_to_a_run(compared, browser, shoot):
    """From the first page, at the width of a small laptop; no address but the server's is typed."""
    from playwright.sync_api import expect

    page = browser.new_page(viewport={"width": 1280, "height": 900})  # and of what it opens
    page.set_default_timeout(PATIENCE_MS)
    with ui(compared) as address:
        page.goto(address.partition("#")[0])
        page.get_by_role("link", name="Experiments").first.click()
        listed = page.get_by_role("row").filter(has_text="dyt-bench/made-up")
        expect(listed).to_contain_text("Made up: dyt in place of the native norm is")
        expect(listed).to_contain_text("1 undetermined")
        shoot("list", page)

        listed.get_by_role("link").first.click()  # opens on runs, summaries with verdicts first
        runs = page.locator("a[href*='/runs/']", has_text=re.compile(r"\S"))
        expect(runs.nth(0)).to_have_text("vit dyt: undetermined")
        expect(runs.nth(1)).to_have_text("vit native")
        expect(page.get_by_text("Ask questions about your")).to_have_count(0)
        shoot("experiment", page)

        page.get_by_role("button", name="Views").click()
        page.get_by_text("overview", exact=True).first.click()
        for column in ("verdict", "gain", "step time", "seeds"):
            expect(page.get_by_role("columnheader", name=column, exact=True).first).to_be_visible()
        expect(page.get_by_role("gridcell", name="+0.2000 [").first).to_be_visible()
        shoot("leaderboard", page)

        page.get_by_role("link", name="vit dyt: undetermined").first.click()
        page.get_by_role("tab", name="Artifacts").click()
        expect(page.get_by_text("suite.yaml").first).to_be_visible()
        page.get_by_role("tab", name="Model metrics").click()
        expect(page.get_by_text("vit 1 result").first).to_be_visible()
        shoot("summary-metrics", page)
        page.get_by_role("tab", name="Overview").click()
        with page.expect_popup() as opened:  # links of a description open pages of their own
            page.get_by_role("link", name="vision/vit seed by seed").first.click()
        seeds = opened.value
        seeds.set_default_timeout(PATIENCE_MS)
        expect(seeds.locator(".js-plotly-plot .bars").first).to_be_visible()
        shoot("seeds", seeds)

        seeds.get_by_role("link", name="vision/vit/digits/s1 dyt").first.click()
        seeds.get_by_role("tab", name="Artifacts").click()
        expect(seeds.get_by_text("packages.txt").first).to_be_visible()
        expect(seeds.get_by_text("run.json").first).to_be_visible()
        seeds.get_by_role("tab", name="Model metrics").click()
        expect(seeds.locator(".js-plotly-plot .scatterlayer .trace").first).to_be_visible()
        expect(seeds.get_by_text("within").first).to_be_visible()
        expect(seeds.get_by_text("peak_mib")).to_have_count(0)  # measured once: no chart
        shoot("run-metrics", seeds)
