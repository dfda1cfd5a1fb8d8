"""Suites by name, and what a command line leaves of a suite."""

from pathlib import Path

import pytest

from dyt_bench.discovery.domains import discover
from dyt_bench.errors import UserError
from dyt_bench.suite.expand import Selection, load_suite
from dyt_bench.suite.shipped import base_of, shipped, suite_file


@pytest.fixture(scope="module")
def found():
    return discover()


def test_names_lead_to_files_and_paths_stay():
    assert {"default", "evidence", "smoke", "paper/vision"} <= set(shipped())
    assert suite_file("default").read_text().startswith("#")
    assert suite_file("mine.yaml") == Path("mine.yaml")


def test_an_unknown_name_is_a_mistake_with_the_nearest():
    with pytest.raises(
        UserError, match=r"; a file of your own ends in \.yaml; did you mean 'evidence'\?$"
    ):
        suite_file("evidense")


def test_relative_paths_of_a_shipped_suite_start_here():
    assert base_of(shipped()["paper/vision"]) == Path()
    assert base_of(Path("elsewhere/mine.yaml")) == Path("elsewhere")


SUITE = (
    "name: s\nvariants: [native, dyt, {name: dyt, recipe: calibrated}, derf]\ntasks:\n"
    "- {domain: vision, models: [vit, convnext]}\n"
    "- {domain: dna, variants: [native, dyt], expected: {dyt: 1.0, native: 2.0}}\n"
)


@pytest.fixture
def narrow(tmp_path, found):
    (tmp_path / "s.yaml").write_text(SUITE)
    return lambda **chosen: load_suite(tmp_path / "s.yaml", found, Selection(**chosen))


def labels(suite):
    return sorted({(run.task.model, run.variant.label) for run in suite.runs})


def test_models_and_variants_narrow_a_suite_and_native_stays(narrow):
    suite = narrow(models=("vit",), variants=("dyt calibrated",))
    assert labels(suite) == [("vit", "dyt calibrated"), ("vit", "native")]


def test_without_a_variant_a_task_keeps_the_baseline(narrow, found):
    suite = narrow(variants=("derf",))
    first = next(iter(found.domain("dna").models))
    assert (first, "native") in labels(suite)
    assert {label for _, label in labels(suite)} == {"native", "derf"}
    assert {key: e.values for key, e in suite.expected.items()}.popitem()[1] == {"native": 2.0}


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"models": ("vitt",)}, "unknown model 'vitt'.*did you mean 'vit'"),
        ({"variants": ("dty",)}, "unknown variant 'dty'.*did you mean 'dyt'"),
        ({"domains": ("dnaa",)}, "unknown domain 'dnaa'"),
    ],
)
def test_a_name_that_the_suite_does_not_have_is_a_mistake(narrow, chosen, message):
    with pytest.raises(UserError, match=message):
        narrow(**chosen)
