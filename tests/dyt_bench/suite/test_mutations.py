"""1,100 broken suite files: each loads, or is one sentence that names the place; never a traceback.

A mutation is drawn by a seed: edit N of the structure, or of the text, of a suite that has one of
everything.
"""

import copy
import random
import re
from pathlib import Path

import pytest

from dyt_bench.discovery.domains import discover
from dyt_bench.errors import UserError
from dyt_bench.suite.document import Document, to_yaml
from dyt_bench.suite.expand import Selection, load_suite

WHOLE = """\
name: whole
title: One of everything
variants: [native, dyt, {name: dyt, alpha_init_value: 0.8}, {name: dyt, recipe: paper}]
seeds: [0, 3]
steps: 20
tasks:
- {domain: vision, models: [vit, convnext], datasets: [digits], batch_size: 8}
- domain: dna
  steps: 30
  learning_rate: 0.001
  val_every: 10
  training: default
  train_samples: 100
  expected: {native: 1.3, dyt: 1.4}
  source: a paper
- domain: vision
  datasets: [folder]
  path: images
"""
VALUES = (
    None, True, False, 0, -1, 10**400, 1.5, float("nan"), float("inf"), -float("inf"),
    "", " ", "x", "native", "a\nb", "\x07", "é" * 300, "../..", "/", "~", "2024-01-01", "1e3",
    [], [[]], {}, {"a": 1}, {"name": "dyt"}, {"name": 3}, [None], ["vit", "vit"], [0, 0],
    b"\x00\xff", 2**32, "0x10", "${HOME}", "%s", "{}", "a: b", "null", "[", list(range(50)),
)  # fmt: skip
SNIPPETS = (
    "\t", ":", "- ", "{", "}", "[", "]", "&a ", "*a", "!!python/object:os.system ", "!x ", "|", ">",
    "'", '"', "\n", "  ", "#", "%", "@", "`", "\x00", "\ufeff", "? ", "<<: *a\n", "---\n", "...\n",
    "!!binary x", "!!set ", "!!timestamp 1", "0o9", "1_000", "=", "\u2028", "\x85", "~",
    "2001-99-99", "- - - ",
)  # fmt: skip


@pytest.fixture(scope="module")
def found():
    return discover()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from PIL import Image

    folder = tmp_path_factory.mktemp("mutations")
    for label in "ab":
        (folder / "images" / label).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / "images" / label / "1.png")
    return folder


def places(node, at=()):
    """Every place in a tree of mappings and sequences."""
    yield at
    if isinstance(node, dict):
        for key, value in node.items():
            yield from places(value, (*at, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from places(value, (*at, index))


def edit_structure(content, draw):
    content = copy.deepcopy(content)
    *way, last = draw.choice([place for place in places(content) if place] or [()]) or [None]
    if last is None:
        return content
    parent = content
    for part in way:
        parent = parent[part]
    match draw.randrange(5):
        case 0:
            parent[last] = draw.choice(VALUES)
        case 1:
            del parent[last]
        case 2 if isinstance(parent, dict):
            parent[draw.choice((str(last)[:-1], str(last) + "s", 3, None, True))] = parent.pop(last)
        case 3 if isinstance(parent, list):
            parent.append(parent[last])
        case _:
            parent[last] = [parent[last]] if draw.random() < 0.5 else {"a": parent[last]}
    return content


def mutated(number):
    draw = random.Random(number)
    if number % 2:
        content = Document(Path("whole.yaml"), WHOLE).content
        for _ in range(draw.randint(1, 3)):
            content = edit_structure(content, draw)
        return to_yaml(content).encode()
    text = WHOLE
    for _ in range(draw.randint(1, 3)):
        start = draw.randrange(len(text))
        end = min(len(text), start + draw.choice((0, 0, 1, 3, 20)))
        text = text[:start] + draw.choice(SNIPPETS) + text[end:]
    content = text.encode()
    if number % 50 == 0:
        content = content[: draw.randrange(len(content))] + bytes([draw.randrange(128, 256)])
    return content


def test_the_whole_suite_loads(found, folder):
    path = folder / "whole.yaml"
    path.write_text(WHOLE)
    assert len(load_suite(path, found).runs) == 4 * 2 * 4


def test_no_mutation_ends_in_a_traceback_and_each_error_names_the_place(found, folder):
    path = folder / "suite.yaml"
    refused = 0
    for number in range(1100):
        path.write_bytes(mutated(number))
        try:
            suite = load_suite(path, found, Selection())
            assert suite.runs
        except UserError as error:
            refused += 1
            said = str(error)
            assert "\n" not in said, (number, said)
            assert str(path) in said, (number, said)
            has_place = re.search(r"suite\.yaml:\d+: ", said)
            # Of a file that is no text, or no mapping, the whole is the place.
            is_whole = re.search(r"cannot read|is empty|is not a mapping", said)
            assert has_place or is_whole, (number, said)
            assert len(said) < 1000, (number, said)
        except Exception as error:
            pytest.fail(f"mutation {number}: {type(error).__name__}: {error}\n{path.read_text()}")
    assert refused > 550
