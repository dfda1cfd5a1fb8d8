"""Links in the READMEs lead somewhere, and the top level is as the README has it."""

import re
import subprocess

import pytest
from tests.readme.blocks import PAGES, ROOT, named

README = (ROOT / "README.md").read_text()

TOP_LEVEL = {
    "packages",
    "benchmarks",
    "results",
    "tests",
    "pyproject.toml",
    "noxfile.py",
    "README.md",
    "LICENSE",
}


def tracked():
    listing = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], check=True, capture_output=True, text=True
    )
    return listing.stdout.splitlines()


def test_the_top_level_is_what_it_should_be():
    names = {path.partition("/")[0] for path in tracked()}
    assert {name for name in names if not name.startswith(".")} == TOP_LEVEL


def test_the_gate_runs_the_tests_as_the_readme_says():
    gate = (ROOT / ".ci" / "run").read_text()
    assert 'pip install "nox[uv]" && nox -s tests' in README
    assert "nox -s tests" in gate
    assert '"nox[uv]"' in gate


# The pages of results link to what each run makes and the repository does not keep.
WRITTEN = [page for page in PAGES if ROOT / "results" not in page.parents]


@pytest.mark.parametrize("page", WRITTEN, ids=named)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_readmes_are_short():
    assert len(README.splitlines()) < 150
    for page in (ROOT / "packages").glob("*/README.md"):
        assert len(page.read_text().splitlines()) < 150, page


def test_committed_results_are_small_and_cover_five_domains():
    files = [ROOT / path for path in tracked() if path.startswith("results/")]
    assert sum(file.stat().st_size for file in files) < 2_500_000
    page = (ROOT / "results" / "README.md").read_text()
    for domain in ("vision", "diffusion", "speech", "dna", "llm"):
        assert f"**{domain}/" in page


def test_the_readme_quotes_the_committed_results():
    """Its table is the verdicts', figure for figure."""
    page = (ROOT / "results" / "README.md").read_text()
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in README.splitlines()]
    (head,) = (cells for cells in lines if cells[:3] == ["model", "metric", "native norm"])
    quoted = [cells for cells in lines if re.fullmatch(r"\w+/[\w-]+(, \d+ steps)?", cells[0])]
    assert len(quoted) >= 6
    labels = {
        "DyT": "dyt",
        "DyT, own rate": "dyt tuned",
        "calibrated": "dyt calibrated",
        "calibrated, own rate": "dyt calibrated tuned",
        "native + factor": "native factor",
    }
    for name, metric, native, *values in quoted:
        # A row whose variant collapsed at a seed has the mean of the others.
        assert re.search(rf"^\| {name} \| .* \| {native} \| ", page, re.M)
        for title, text in zip(head[3:], values, strict=True):
            variant = labels.get(title, title.lower())
            published = re.findall(rf"^\| {name} \|.*\| {variant} \|.*$", page, re.M)
            if not text:
                assert not published, (name, variant)
                continue
            (row,) = published
            share, verdict = text.split(maxsplit=1)
            assert {metric, share} <= {cell.strip() for cell in row.split("|")}, row
            assert f"| {verdict} (n=" in row, row
