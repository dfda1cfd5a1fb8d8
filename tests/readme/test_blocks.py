"""Every block of code in READMEs and documentation runs, or is what the file it names holds."""

import ast
import contextlib
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement
from tests.readme.blocks import PAGES, ROOT, blocks, named, prose

from dyt_bench.cli import main

# Commands of dyt-bench that run here: they train nothing, and need no network.
RUN = {"domains", "plugins", "data list", "plan default"}
# The others are parsed as the command line would, names and values of options included.
NOT_RUN = {
    "check": "trains",
    "clean": "deletes",
    "compare": "needs two sides that have run",
    "completion": "has tests of its own",
    "convert": "has tests of its own, and takes a library's import",
    "data fetch": "needs a network",
    "export": "needs a suite that has run",
    "doctor": "has tests of its own, and takes every import there is",
    "finetune": "trains",
    "merge": "needs other workspaces",
    "new-domain": "has tests of its own, which install and run what it writes",
    "plan": "needs the reader's suite, or trains with --probe",
    "report": "needs a suite that has run",
    "run": "trains",
    "sync": "needs a server",
    "ui": "serves until Ctrl-C",
}


@cache
def sessions():
    """Names of the sessions the noxfile defines, `bench(domain='dna')` and its like included."""
    from dyt_bench.discovery.domains import discover

    tree = ast.parse((ROOT / "noxfile.py").read_text())
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    defined |= {
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant)
    }
    return defined | {f"bench(domain='{domain}')" for domain in discover().names}


def commands(page):
    """Commands of the page's blocks."""
    for block in blocks(page):
        if block.language == "sh":
            for line in filter(None, block.code.splitlines()):
                command = re.split(r"\s{2,}", line)[0]  # what follows says what it does
                yield from command.split(" && ")


def mentioned(page):
    """Commands that the text has, perhaps without what they need."""
    yield from re.findall(r"`((?:dyt-bench|nox) -?[a-z][^`]*)`", prose(page))


COMMANDS = sorted({command for page in PAGES for command in commands(page)})
MENTIONED = sorted({command for page in PAGES for command in mentioned(page)} - {*COMMANDS})


def cases(language, *, quoted=False):
    return [
        pytest.param(block, id=f"{named(page)}-{number}")
        for page in PAGES
        for number, block in enumerate(blocks(page))
        if block.language == language and bool(block.source) == quoted
    ]


def test_every_language_is_tested():
    for page in PAGES:
        languages = {block.language for block in blocks(page)}
        assert languages <= {"bibtex", "python", "sh", "toml", "yaml"}, named(page)


@pytest.mark.parametrize("block", [*cases("python", quoted=True), *cases("toml", quoted=True)])
def test_what_is_quoted_stands_in_the_file(block):
    assert block.code in (ROOT / block.source).read_text()


# As in pyproject.toml: of Lightning with torch 2.14, and of data sets that lie in memory. And where
# a cluster's commands are installed, Lightning wants them used.
WARNINGS = ["error"]
WARNINGS += [
    f"ignore:{text}"
    for text in ("`isinstance(treespec", "The 'train_", "The 'val_", "The `srun` command")
]


@pytest.mark.slow
@pytest.mark.parametrize("block", cases("python"))
def test_python_blocks_run(block, tmp_path):
    warnings = [word for each in WARNINGS for word in ("-W", each)]
    subprocess.run([sys.executable, *warnings, "-c", block.code], check=True, cwd=tmp_path)


@pytest.mark.parametrize("block", [*cases("toml"), *cases("toml", quoted=True)])
def test_toml_blocks_are_entry_points_that_are_looked_for(block):
    sources = [file.read_text() for file in (ROOT / "packages/dyt-bench/src").rglob("*.py")]
    for group in tomllib.loads(block.code)["project"]["entry-points"]:
        assert any(f'"{group}"' in source for source in sources), group


@pytest.mark.parametrize("block", cases("yaml"))
def test_yaml_blocks_are_suites(block, tmp_path):
    from PIL import Image

    from dyt_bench.discovery.domains import discover
    from dyt_bench.suite.expand import load_suite

    for label in ("cats", "dogs"):
        (tmp_path / "photographs" / label).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "photographs" / label / "1.png")
    (tmp_path / "suite.yaml").write_text(block.code)
    assert load_suite(tmp_path / "suite.yaml", discover()).runs


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_such(command):
    program, *words = shlex.split(command)
    {"dyt-bench": bench, "nox": nox, "pip": pip, "python": script}[program](words)


@pytest.mark.parametrize("command", MENTIONED)
def test_commands_in_the_text_are_such(command):
    with contextlib.suppress(click.MissingParameter):
        test_commands_are_such(command)


def bench(words):
    """Run, or parse as the command line does; a command is in one of the two lists."""
    if " ".join(words) in RUN:
        assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0
        return
    command, context, name = main, click.Context(main, info_name="dyt-bench"), []
    while isinstance(command, click.Group):
        known, command, words = command.resolve_command(context, words)
        name.append(known)
    assert " ".join(name) in NOT_RUN
    words = [word for word in words if word not in ("[SUITE]", "...")]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for word in words:
            if word.endswith("/.dyt-bench"):  # another workspace, which has to be there
                Path(word).mkdir(parents=True)
        with contextlib.suppress(click.exceptions.Exit):  # --help ends it
            command.make_context(name[-1], words, parent=context)


def nox(words):
    assert words == ["-l"] or (words[0] == "-s" and words[1] in sessions()), words


def pip(words):
    assert words[0] == "install"
    for word in words[1:]:
        if not (word.startswith("-") or word.startswith("dyt-") or (ROOT / word).is_dir()):
            Requirement(word)


def script(words):
    if words[0] == "-m":
        assert find_spec(f"{words[1]}.__main__") is not None
    else:
        assert (ROOT / words[0]).is_file()
