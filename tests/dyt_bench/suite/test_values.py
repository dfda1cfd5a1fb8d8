"""Scalars of YAML 1.2, and paths as people write them."""

import pytest

from dyt_bench.suite.scalars import scalar
from dyt_bench.suite.values import located


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # From the tables of the core schema, YAML 1.2.2, section 10.3.2.
        ("", None), ("~", None), ("null", None), ("Null", None), ("nUll", "nUll"),
        ("true", True), ("FALSE", False), ("no", "no"), ("On", "On"), ("y", "y"),
        ("0", 0), ("-19", -19), ("+3", 3), ("0o7", 7), ("0x3A", 58), ("010", 10), ("08", 8),
        ("1_000", "1_000"), ("0b1", "0b1"), ("1:30", "1:30"), ("2024-01-01", "2024-01-01"),
        ("0.", 0.0), ("-0.0", 0.0), (".5", 0.5), ("+12e03", 12000.0), ("-2E+05", -200000.0),
        ("1e-3", 0.001), (".5e3", 500.0), ("1e", "1e"), (".", "."), ("=", "="), ("<<", "<<"),
    ],
)  # fmt: skip
def test_a_word_without_quotes_is_what_the_core_schema_says(text, value):
    found = scalar(text, plain=True, tag=None)
    assert (type(found), found) == (type(value), value)
    assert scalar(text, plain=False, tag=None) == text


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder that is HOME, with a folder ``mine``."""
    (tmp_path / "home" / "mine").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("given", ["~/mine", "$HOME/mine", "${HOME}/mine", "../home/mine"])
def test_a_path_is_read_as_by_a_shell(home, tmp_path, given):
    assert located(given, tmp_path / "suites") == (home / "mine").resolve()


@pytest.mark.parametrize("name", ["~", "$HOME", "$nothing", "${x"])
def test_what_is_there_by_that_very_name_is_meant(home, tmp_path, name):
    (tmp_path / name).mkdir()
    assert located(name, tmp_path) == tmp_path.resolve() / name


def test_links_in_a_circle_are_no_path(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ValueError, match="the path 'a' cannot be used: "):
        located("a", tmp_path)
