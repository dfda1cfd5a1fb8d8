"""Import the object of an entry point safely, and report what went wrong in one sentence.

An exception, `sys.exit` and a syntax error are caught, an import that hangs is abandoned, and
slow imports and files written to the working directory are reported as warnings. `os._exit` and
`os.abort` raise meanwhile. Only a crash in C, or a signal, ends the process.
"""

import contextlib
import importlib
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Any

SLOW_S = 2.0  # an import that takes longer is reported: every listing of plug-ins waits for it
GIVE_UP_S = 60.0  # an import that takes longer is abandoned
_HEAVY = ("torch", "lightning", "mlflow")  # modules that no plug-in needs in order to be listed
_ON_THE_WAY = ("<frozen", __file__, importlib.__path__[0])  # frames above the plug-in's own code


@dataclass
class Imported:
    """The result of an import."""

    value: Any = None  # the object
    problem: str = ""  # why there is none: one sentence
    warnings: list[str] = field(default_factory=list)  # flaws of an import that worked


def import_point(point: EntryPoint) -> Imported:
    """Import the object that ``point`` names; raises nothing but KeyboardInterrupt."""
    imported = Imported()
    files, heavy, started = _stamps(), _heavy(), time.perf_counter()
    try:
        # A program may read our standard output, so what the plug-in prints goes elsewhere.
        with contextlib.redirect_stdout(sys.stderr), _kept_alive():
            imported.value = _import(point)
        seconds = time.perf_counter() - started
        if seconds > SLOW_S:
            imported.warnings.append(_slow(point, seconds, _heavy() - heavy))
    except _Hangs:
        reason = f"did not end within {GIVE_UP_S:g} s"
        imported.problem = f"importing {point.value} {reason}: {_advice(point)}"
    except KeyboardInterrupt:
        raise
    except _Ends as error:
        imported.problem = (
            f"importing {point.value} tried to end the program: {error}: {_advice(point)}"
        )
    except BaseException as error:
        reason = f"raised {in_short(error)}"
        imported.problem = f"importing {point.value} {reason}: {_advice(point)}"
    if _stamps() != files and (written := _left_behind(point)):
        imported.warnings.append(
            f"importing {point.value} wrote to the working directory ({', '.join(written)}): "
            "an import must leave nothing behind"
        )
    return imported


def distribution(point: EntryPoint) -> str:
    """``dyt-vision 0.1.0``; without a distribution, the object's address."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _advice(point: EntryPoint) -> str:
    """What to do about a plug-in that does not work."""
    return f"fix {distribution(point)}, or uninstall it"


def in_short(error: BaseException) -> str:
    """One line: the exception, with the file and line that raised it."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_ON_THE_WAY)
    ]
    if isinstance(error, SyntaxError) or not frames:  # its message has the place
        return text
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})"


class _Ends(BaseException):
    """An import tries to end the process."""


@contextlib.contextmanager
def _kept_alive() -> Iterator[None]:
    """A context in which `os._exit` and `os.abort` raise _Ends in this process.

    In a child that it forks meanwhile they do what they always do.
    """
    own = os.getpid()
    real: dict[str, Callable[..., Any]] = {"_exit": os._exit, "abort": os.abort}

    def refused(name: str) -> Callable[..., None]:
        def end(*status: int) -> None:
            if os.getpid() != own:
                real[name](*status)
            raise _Ends(f"os.{name} was called")

        return end

    for name in real:
        setattr(os, name, refused(name))
    try:
        yield
    finally:
        for name, function in real.items():
            setattr(os, name, function)


class _Hangs(Exception):
    """An import does not end."""


def _import(point: EntryPoint) -> Any:
    """The object that ``point`` names; raises what its import raises, or _Hangs.

    The import runs in a thread: no signal ends one that waits in C, and a process for each
    plug-in would take longer than most imports. The thread of one that hangs is abandoned; being
    a daemon, it does not keep the program from ending.
    """
    loaded: list[Any] = []
    raised: list[BaseException] = []

    def load() -> None:
        try:
            loaded.append(point.load())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=load, name=f"import {point.value}", daemon=True)
    thread.start()
    thread.join(GIVE_UP_S)
    if raised:
        raise raised[0]
    if not loaded:
        raise _Hangs
    return loaded[0]


def _slow(point: EntryPoint, seconds: float, heavy: set[str]) -> str:
    cause = f", and imported {', '.join(sorted(heavy))}" if heavy else ""
    return (
        f"importing {point.value} took {seconds:.1f} s{cause}: import what is slow inside the "
        "functions that need it"
    )


def _heavy() -> set[str]:
    return {name for name in _HEAVY if name in sys.modules}


def _stamps() -> dict[str, object]:
    """Name -> time and size, of the files at the top level of the working directory."""
    stamps: dict[str, object] = {}
    with contextlib.suppress(OSError), os.scandir() as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # it is gone already
                status = entry.stat(follow_symlinks=False)
                is_folder = entry.is_dir(follow_symlinks=False)
                stamps[entry.name] = None if is_folder else (status.st_mtime_ns, status.st_size)
    return stamps


def _left_behind(point: EntryPoint) -> list[str]:
    """The files that an import writes to an empty working directory.

    It is repeated there because another process may have changed the user's working directory.
    """
    path = [os.path.abspath(folder) for folder in sys.path]
    script = f"import sys; sys.path[:] = {path!r}; import {point.module}"
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.suppress(subprocess.TimeoutExpired):
            command = [sys.executable, "-c", script]
            quiet = subprocess.DEVNULL
            subprocess.run(command, cwd=folder, stdout=quiet, stderr=quiet, timeout=GIVE_UP_S)
        return sorted(os.listdir(folder))
