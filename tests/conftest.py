"""A cache of data sets that cannot be written, for the tests of every domain."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

# What every domain reports then: the reason, and the way out.
UNWRITABLE = r"^cannot write below .*; set DYT_BENCH_DATA to a folder that can be written and has"


def mounted(folder: Path, options: str) -> bool:
    """Whether a small file system could be mounted there: it takes an administrator."""
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return not os.geteuid() and not subprocess.run(mount, capture_output=True).returncode


@pytest.fixture(params=["file", "read-only", "full"])
def unwritable_cache(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """``DYT_BENCH_DATA`` is a file, a read-only folder, or a disk of 16 KiB.

    Returns:
        A pattern that the error's message must match.
    """
    folder = tmp_path_factory.mktemp("unwritable")
    mount = {"read-only": "ro", "full": "size=16k"}.get(request.param)
    is_mounted = mount is not None and mounted(folder, mount)
    if request.param == "file":
        folder = folder / "file"
        folder.touch()
    elif request.param == "read-only" and not is_mounted:
        if not os.geteuid():
            pytest.skip("an administrator may write everywhere, and may not mount here")
        folder.chmod(0o500)
    elif not is_mounted:
        pytest.skip("mounting a small file system takes an administrator")
    monkeypatch.setenv("DYT_BENCH_DATA", str(folder))
    yield UNWRITABLE
    if is_mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def pytest_configure() -> None:
    """What fixtures of a module read must not have the variable of the user's shell."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(autouse=True)
def no_tracking_uri() -> Iterator[None]:
    """The command line honours MLflow's variable, which MLflow itself sets in this process."""
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)
