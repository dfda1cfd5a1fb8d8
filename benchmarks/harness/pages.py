"""Measures a store with many suites: how long it takes to fill, and MLflow's pages to open.

The runs are made up, as those of `report_time`: four models with five variants each, and for a
suite two seeds of its own. `dyt-bench sync` sends them to SQLite in a process of its own, twice.
Then `dyt-bench ui` serves them, and Chromium opens each page as a reader's first one: a new context
holds nothing of the pages before. Wall time, as readers wait; the sync's processor time beside it.
"""

import importlib
import importlib.util
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

import click
from benchmarks.harness.report_time import DOMAINS, VARIANTS, make_runs

from dyt_bench.plugin.atomic import write_json
from dyt_bench.records.workspace import Workspace
from dyt_bench.tracking.store import Store

SYNC_S = 1.0  # most of wall time a run, for the first sync
PAGE_S = 20.0  # most that a page takes to open
OPENINGS = 3  # of each page
_OF_SEED = len(DOMAINS) * len(VARIANTS)  # runs
_PATIENCE_MS = 240_000
_WIDTH, _HEIGHT = 1280, 900  # of a small laptop


@dataclass(frozen=True)
class Page:
    """A page of MLflow's, and when it is open."""

    name: str
    address: str
    shown: Callable[[Any], Any]  # of Playwright's page: waits for what a reader came for


def suite_name(number: int) -> str:
    return f"suite-{number:02d}"


def fill(workspace: Workspace, suites: int, seeds: int) -> int:
    """Write records of so many suites, each with so many seeds of its own; the number of runs."""
    runs = 0
    for number in range(suites):
        folders = make_runs(workspace, range(number * seeds, (number + 1) * seeds))
        about = {"title": f"Made up, number {number}", "runs": folders, "expected": {}}
        write_json(workspace.suite_path(suite_name(number)), about)
        runs += len(folders)
    return runs


def synced(workspace: Workspace) -> tuple[float, float]:
    """Send everything; seconds of the wall clock and of the processor."""
    command = [sys.executable, "-m", "dyt_bench", "sync", "--workspace", str(workspace.folder)]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextmanager
def served(workspace: Workspace) -> Iterator[str]:
    """`dyt-bench ui`; the address of its first page."""
    command = [sys.executable, "-m", "dyt_bench", "ui", "--no-browser"]
    command += ["--workspace", str(workspace.folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as server:
        assert server.stdout is not None
        try:
            addresses = (re.search(r"http[^#\s]+", line) for line in server.stdout)
            yield next(found[0] for found in addresses if found)
        finally:
            os.killpg(server.pid, signal.SIGINT)


def pages_of(base: str, workspace: Workspace, suites: int) -> list[Page]:
    """The pages that are measured: the list, and of the last suite the others."""
    last = suite_name(suites - 1)
    store = Store(workspace.tracking_uri, f"dyt-bench/{last}", workspace.artifacts)
    store.open()
    runs = [known.run_id for known in store.runs.values() if known.tags.get("kind") == "run"]
    two = quote(f'["{runs[0]}","{runs[1]}"]')
    there, ml = f"{base}#/experiments/{store.experiment_id}", "workflowType=machine_learning"

    def experiment(page: Any) -> None:
        page.get_by_role("link", name=re.compile("^vit dyt: ")).first.wait_for()

    def charts(page: Any) -> None:
        page.locator(".js-plotly-plot .bars").first.wait_for()

    return [
        Page("list", f"{base}#/experiments?{ml}", lambda page: _link(page, last).wait_for()),
        Page("experiment", f"{there}/runs?{ml}", experiment),
        Page(
            "overview",
            f"{there}/runs?{ml}&compareRunsMode=CHART&viewStateShareKey=overview",
            charts,
        ),
        Page(
            "two runs compared",
            f'{base}#/compare-runs?runs={two}&experiments=["{store.experiment_id}"]',
            lambda page: page.get_by_text("Parallel Coordinates Plot").first.wait_for(),
        ),
        Page(
            "run",
            f"{there}/runs/{runs[0]}",
            lambda page: page.get_by_text("learning_rate").first.wait_for(),
        ),
    ]


def _link(page: Any, suite: str) -> Any:
    return page.get_by_role("link", name=f"dyt-bench/{suite}", exact=True).first


def opened(page: Page, browser: Any, shots: Path | None) -> float:
    """Seconds until the page shows what a reader came for, of the middle one of some openings."""
    seconds = []
    for _ in range(OPENINGS):
        context = browser.new_context(viewport={"width": _WIDTH, "height": _HEIGHT})
        tab = context.new_page()
        tab.set_default_timeout(_PATIENCE_MS)
        start = time.monotonic()
        tab.goto(page.address)
        page.shown(tab)
        seconds.append(time.monotonic() - start)
        if shots is not None:
            tab.screenshot(path=shots / f"{page.name.replace(' ', '-')}.png")
        context.close()
    return median(seconds)


def chromium() -> str | None:
    """The browser's file, where Playwright is installed to drive it."""
    if importlib.util.find_spec("playwright") is None:
        return None
    return shutil.which("chromium")


def open_all(workspace: Workspace, suites: int, browser: str, shots: Path | None) -> float:
    """Print how long each page takes to open; the longest of them in seconds."""
    sync_api = importlib.import_module("playwright.sync_api")
    slowest = 0.0
    with served(workspace) as base, sync_api.sync_playwright() as running:
        # As root, in a container, Chromium's sandbox does not start.
        driven = running.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for page in pages_of(base, workspace, suites):
            seconds = opened(page, driven, shots)
            click.echo(f"{page.name}: open after {seconds:.1f} s, the middle of {OPENINGS}")
            slowest = max(slowest, seconds)
        driven.close()
    return slowest


@click.command()
@click.option("--suites", default=50, show_default=True)
@click.option("--runs", default=2_000, show_default=True, help="Of all suites, about.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for all, with screenshots.")
@click.option("--gate", is_flag=True, help="Exit with 1 where a limit is exceeded.")
def pages(suites: int, runs: int, keep: Path | None, gate: bool) -> None:
    """Print how long a store of many suites takes to fill, and its pages to open."""
    with tempfile.TemporaryDirectory() as temporary:
        workspace = Workspace((keep or Path(temporary)) / "work")
        workspace.create()
        made = fill(workspace, suites, max(1, round(runs / suites / _OF_SEED)))
        click.echo(f"{suites} suites, {made:,} runs")
        (first, cpu), (again, _) = synced(workspace), synced(workspace)
        click.echo(
            f"first sync: {first:.0f} s, {cpu:.0f} s of processor time, {first / made:.2f} s a "
            f"run; again: {again:.0f} s"
        )
        browser, slowest = chromium(), 0.0
        if browser is None:
            click.echo("pages: not opened, as there is no chromium, or no package playwright")
        else:
            slowest = open_all(workspace, suites, browser, keep)
    if gate and (first > SYNC_S * made or slowest > PAGE_S):
        click.echo(f"over {SYNC_S:g} s a run, or {PAGE_S:g} s a page")
        sys.exit(1)
