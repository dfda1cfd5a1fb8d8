"""The plugins of tests/plugins, found as installed ones are, here and in new processes."""

import importlib
import os
import signal
import sys
import tomllib
from importlib.metadata import EntryPoint, distribution
from pathlib import Path

import pytest
from click.testing import CliRunner

from dyt_bench.cli import main
from dyt_bench.discovery.extensions import EXECUTORS
from dyt_bench.scheduling import session
from dyt_tiny import install

from .instant import InstantExecutor, NoTracker

PLUGINS = Path(__file__).parents[1] / "plugins"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The plugin is installed; the environment for other processes to find it."""
    folder = tmp_path_factory.mktemp("site")
    environment = install(folder)
    sys.path.append(str(folder))
    yield environment
    sys.path.remove(str(folder))


def declare(folder, name, entry_points):
    """What installing a distribution tells of its entry points: group -> name -> value."""
    metadata = folder / f"{name.replace('-', '_')}-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    lines = []
    for group, points in entry_points.items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture(scope="module")
def extras(tmp_path_factory):
    """The plugin dyt_extras is installed; the environment for other processes to find it."""
    folder = tmp_path_factory.mktemp("site")
    project = tomllib.loads((PLUGINS / "dyt_extras" / "pyproject.toml").read_text())["project"]
    declare(folder, project["name"], project["entry-points"])
    sys.path.append(str(folder))
    yield {**os.environ, "PYTHONPATH": f"{PLUGINS}{os.pathsep}{folder}"}
    sys.path.remove(str(folder))


@pytest.fixture
def plant(tmp_path, monkeypatch):
    """Install a plugin of one module, for this test: (module, its source, domain) -> entry point.

    The module ``dyt_odd`` comes from the distribution dyt-odd 1.0.
    """
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    planted = set()

    def called(module: str, source: str, *, domain: str) -> EntryPoint:
        (folder / f"{module}.py").write_text(source)
        name = module.replace("_", "-")
        metadata = folder / f"{module}-1.0.dist-info"
        metadata.mkdir(exist_ok=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        entry = f"[dyt_bench.domains]\n{domain} = {module}:domain\n"
        (metadata / "entry_points.txt").write_text(entry)
        importlib.invalidate_caches()
        planted.add(module)
        (point,) = distribution(name).entry_points
        return point

    yield called
    for module in planted:
        sys.modules.pop(module, None)


@pytest.fixture
def instant(tiny, monkeypatch):
    """`dyt-bench` in this process, with runs that take no time: (arguments) -> what it said.

    The executor is called "instant", and there is no MLflow.
    """
    address = f"{InstantExecutor.__module__}:{InstantExecutor.__name__}"
    monkeypatch.setitem(EXECUTORS.own, "instant", address)
    monkeypatch.setattr(session, "Tracker", NoTracker)
    monkeypatch.setattr(InstantExecutor, "trained", [])
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield lambda *arguments: CliRunner().invoke(main, [str(each) for each in arguments])
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are made, but not drawn, which takes most of a report's time."""
    from matplotlib.figure import Figure

    def save(self, file, **_):
        if hasattr(file, "write"):
            file.write("<svg></svg>")
        else:
            file.write_bytes(b"not drawn")

    monkeypatch.setattr(Figure, "savefig", save)
