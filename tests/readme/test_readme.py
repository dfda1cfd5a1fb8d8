"""What the READMEs say can be typed, and what they show is there."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dyt_bench.registry import discover

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "packages").glob("*/README.md"))]
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


def sessions():
    """Names of the sessions the noxfile defines, `bench(domain='dna')` and its like included."""
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    defined |= {
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant)
    }
    return defined | {f"bench(domain='{domain}')" for domain in discover().names}


def test_the_top_level_is_what_it_should_be():
    names = {path.partition("/")[0] for path in tracked()}
    assert {name for name in names if not name.startswith(".")} == TOP_LEVEL


def test_every_session_named_exists():
    named = set(re.findall(r'nox -s (?:"([^"]+)"|([\w-]+))', README))
    assert named
    assert {quoted or plain for quoted, plain in named} <= sessions()


def test_the_gate_runs_the_tests_as_the_readme_says():
    gate = (ROOT / ".ci" / "run").read_text()
    assert 'pip install "nox[uv]" && nox -s tests' in README
    assert "nox -s tests" in gate
    assert '"nox[uv]"' in gate


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_run(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        subprocess.run([sys.executable, "-W", "error", "-c", block], check=True)


def test_yaml_blocks_are_suites(tmp_path):
    from PIL import Image

    from dyt_bench.suite import load_suite

    for label in ("cats", "dogs"):
        (tmp_path / "photographs" / label).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "photographs" / label / "1.png")
    blocks = [b for page in PAGES for b in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S)]
    assert blocks
    for block in blocks:
        (tmp_path / "suite.yaml").write_text(block)
        assert load_suite(tmp_path / "suite.yaml", discover()).cells


def test_the_readme_is_short():
    assert len(README.splitlines()) < 200


def test_committed_results_are_small_and_cover_five_domains():
    files = [ROOT / path for path in tracked() if path.startswith("results/")]
    assert sum(file.stat().st_size for file in files) < 2_000_000
    page = (ROOT / "results" / "README.md").read_text()
    for domain in ("vision", "diffusion", "speech", "dna", "llm"):
        assert f"**{domain}/" in page


def test_the_readme_quotes_the_committed_results():
    """Its table is the verdicts', figure for figure."""
    page = (ROOT / "results" / "README.md").read_text()
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in README.splitlines()]
    (head,) = (cells for cells in lines if cells[:3] == ["model", "metric", "native norm"])
    quoted = [cells for cells in lines if re.fullmatch(r"\w+/\w+", cells[0])]
    assert len(quoted) >= 6
    norms = {"DyT": "dyt", "paper's recipe": "dyt paper", "calibrated": "dyt calibrated"}
    for name, metric, native, *arms in quoted:
        for title, arm in zip(head[3:], arms, strict=True):
            norm = norms.get(title, title.lower())
            published = re.findall(rf"^\| {name} \|.*\| {norm} \|.*$", page, re.M)
            if not arm:
                assert not published, (name, norm)
                continue
            (row,) = published
            value, verdict = arm.split()
            assert {metric, native, value} <= {cell.strip() for cell in row.split("|")}, row
            assert f"| {verdict} (n=" in row, row
