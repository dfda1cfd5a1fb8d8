"""The public names: what completion and help show, and that no name hides a module."""

import doctest
import importlib
import inspect
import pkgutil
import pydoc
import re
from importlib.metadata import version
from pathlib import Path

import pytest

import dyt
from dyt import _ops, functions

PUBLIC_MODULES = {
    "functional",
    "functions",
    "layers",
    "norms",
    "parts",
    "recipes",
    "rivals",
    "variants",
}
FOLDER = Path(dyt.__file__).parent
FILES = [f.relative_to(FOLDER.parent) for f in sorted(FOLDER.rglob("*.py"))]
MODULES = [".".join(f.with_suffix("").parts).removesuffix(".__init__") for f in FILES]


def test_completion_shows_the_public_names_alone():
    assert dir(dyt) == sorted(dyt.__all__)
    assert all(name == "__version__" or not name.startswith("_") for name in dyt.__all__)
    modules = {name for name in dyt.__all__ if inspect.ismodule(getattr(dyt, name))}
    assert modules == PUBLIC_MODULES
    assert modules == {m.name for m in pkgutil.iter_modules(dyt.__path__) if m.name[0] != "_"}


@pytest.mark.parametrize("name", sorted(PUBLIC_MODULES))
def test_a_public_module_says_what_it_exports(name):
    module = importlib.import_module(f"dyt.{name}")
    for exported in module.__all__:
        found = getattr(module, exported)
        assert not inspect.ismodule(found)


@pytest.mark.parametrize("name", [n for n in dyt.__all__ if callable(getattr(dyt, n))])
def test_help_lists_every_function_and_class_with_its_doc(name):
    text = pydoc.plain(pydoc.render_doc(dyt))
    first = inspect.getdoc(getattr(dyt, name)).splitlines()[0]
    kind = "    class " if inspect.isclass(getattr(dyt, name)) else "    "
    assert re.search(rf"^{kind}{name}\(", text, re.MULTILINE)
    assert first in text


def test_help_shows_no_internals():
    text = pydoc.plain(pydoc.render_doc(dyt))
    functions = text.partition("\nFUNCTIONS\n")[2].partition("\nDATA\n")[0]
    listed = re.findall(r"^    (\w+)\(", functions, re.MULTILINE)
    expected = [n for n in dyt.__all__ if inspect.isfunction(getattr(dyt, n))]
    assert sorted(listed) == sorted(expected)


@pytest.mark.parametrize("name", MODULES)
def test_no_function_hides_a_module(name):
    if "triton." in name:
        pytest.importorskip("triton", reason="Triton comes with torch on Linux alone")
    module = importlib.import_module(name)
    parent, _, attribute = name.rpartition(".")
    assert not parent or getattr(importlib.import_module(parent), attribute) is module


def test_the_version_is_the_packages():
    assert dyt.__version__ == version("dyt-core")


@pytest.mark.parametrize(
    "name", ["_audit", "_jacobian", "_ops", "_probe", "_surgery", *sorted(PUBLIC_MODULES)]
)
def test_examples_run(name, monkeypatch):
    monkeypatch.setattr(functions, "_family", dict(functions.FAMILY))
    monkeypatch.setattr(functions, "FAMILY", functions._family)
    monkeypatch.setattr(_ops, "bound", None)
    for module in [m for m in MODULES if m.startswith(f"dyt.{name}")]:
        outcome = doctest.testmod(importlib.import_module(module))
        assert outcome.failed == 0
