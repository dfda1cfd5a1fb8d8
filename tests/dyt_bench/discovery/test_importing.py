"""Whatever the import of a plug-in does is reported in a sentence, and ends nothing."""

import os
import threading
from importlib.metadata import EntryPoint

import pytest

from dyt_bench.discovery import importing
from dyt_bench.discovery.importing import import_point


@pytest.fixture
def imported(plant, tmp_path, monkeypatch):
    """Import a module of this source, in an empty working directory."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def called(source):
        return import_point(plant("dyt_odd", source, domain="odd"))

    return called


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("raise ValueError('two\\nlines')", "raised ValueError: two lines ("),
        ("import sys\nsys.exit('bye')", "raised SystemExit: bye ("),
        ("raise GeneratorExit", "raised GeneratorExit ("),
        ("import nowhere", "raised ModuleNotFoundError: No module named 'nowhere' ("),
        ("raise TimeoutError", "raised TimeoutError ("),
    ],
)
def test_an_exception_is_reported_with_its_place(imported, source, problem):
    outcome = imported(source)
    assert f"importing dyt_odd:domain {problem}" in outcome.problem
    line = len(source.splitlines())
    assert f"dyt_odd.py, line {line})" in outcome.problem
    assert outcome.problem.endswith(": fix dyt-odd 1.0, or uninstall it")


@pytest.mark.parametrize("end", ["os._exit(3)", "os.abort()", "from os import _exit; _exit(0)"])
def test_an_import_that_would_end_the_program_costs_one_line(imported, end):
    outcome = imported(f"import os\ntry:\n    {end}\nexcept Exception:\n    pass")
    assert "importing dyt_odd:domain tried to end the program: os." in outcome.problem
    assert outcome.problem.endswith("was called: fix dyt-odd 1.0, or uninstall it")
    assert os._exit.__module__ == os.abort.__module__ == "posix"


def test_a_child_of_an_import_ends_as_it_wants(imported):
    source = "import os, warnings\nwarnings.simplefilter('ignore')\n"
    source += "if not (child := os.fork()):\n    os._exit(7)\n"
    source += "domain = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])"
    assert imported(source).value == 7


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("def f(:", "raised SyntaxError: invalid syntax (dyt_odd.py, line 1)"),
        ("", "raised AttributeError: module 'dyt_odd' has no attribute 'domain'"),
    ],
)
def test_a_module_that_is_none_or_lacks_the_object(imported, source, problem):
    assert problem in imported(source).problem


def test_an_entry_point_to_nowhere_is_reported():
    point = EntryPoint("odd", "no_such_module:domain", "dyt_bench.domains")
    assert "No module named 'no_such_module'" in import_point(point).problem


def test_ctrl_c_ends_the_import(imported):
    with pytest.raises(KeyboardInterrupt):
        imported("raise KeyboardInterrupt")


def test_a_slow_import_is_timed_and_its_cause_named(imported, monkeypatch):
    monkeypatch.setattr(importing, "SLOW_S", 0.01)
    monkeypatch.setattr(importing, "_HEAVY", ("colorsys",))
    monkeypatch.delitem(importing.sys.modules, "colorsys", raising=False)
    outcome = imported("import time, colorsys\ntime.sleep(0.02)\ndomain = 1")
    assert outcome.value == 1
    (warning,) = outcome.warnings
    assert "importing dyt_odd:domain took 0." in warning
    assert "and imported colorsys" in warning


def test_an_import_that_hangs_is_given_up(imported, monkeypatch):
    monkeypatch.setattr(importing, "GIVE_UP_S", 0.05)
    release = threading.Event()
    monkeypatch.setattr(importing, "release", release, raising=False)
    outcome = imported("from dyt_bench.discovery import importing\nimporting.release.wait()")
    assert "did not end within 0.05 s: fix dyt-odd 1.0" in outcome.problem
    release.set()
    for thread in threading.enumerate():
        if thread.name == "import dyt_odd:domain":
            thread.join()


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("open('new.txt', 'w').close()", "(new.txt)"),
        ("import os\nos.mkdir('cache')", "(cache)"),
        ("with open('old.txt', 'a') as old: old.write('more')", "(old.txt)"),
        ("open('new.txt', 'w').close()\nraise ValueError", "(new.txt)"),
        ("import os\nos.remove('old.txt')\nos.mkdir('__pycache__')", None),
    ],
)
def test_what_an_import_writes_is_named(imported, source, named):
    open("old.txt", "w").close()
    warnings = imported(f"{source}\ndomain = 1").warnings
    assert [named in warning for warning in warnings] == ([True] if named else [])


def test_what_another_process_writes_meanwhile_is_not_blamed_on_it(imported, monkeypatch):
    listings = iter([{}, {"log.txt": 1}])
    monkeypatch.setattr(importing, "_stamps", lambda: next(listings))
    assert not imported("domain = 1").warnings


def test_what_an_import_prints_is_not_ours(imported, capsys):
    imported("print('hello')\ndomain = 1")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "hello\n")
