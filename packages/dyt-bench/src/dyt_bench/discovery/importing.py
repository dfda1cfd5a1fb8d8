"""Import what a stranger registered: whatever it does, and however long, it is told, not suffered.

An exception, `sys.exit` and a syntax error become a sentence; an import that hangs is given up;
one that is slow, or writes to the working directory, is found out. Only what ends the process
itself, a crash in C or `os._exit`, is beyond this.
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
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Any

SLOW_S = 2.0  # an import that takes longer is reported: whoever lists plugins waits for it
GIVE_UP_S = 60.0  # an import that takes longer is taken to hang
_HEAVY = ("torch", "lightning", "mlflow")  # what no plugin needs in order to be listed
_ON_THE_WAY = ("<frozen", __file__, importlib.__path__[0])  # in a traceback, before their code


@dataclass
class Imported:
    """What came of an import."""

    value: Any = None  # the object
    problem: str = ""  # why there is none: one sentence
    warnings: list[str] = field(default_factory=list)  # what is amiss all the same


def import_point(point: EntryPoint) -> Imported:
    """Import the object that ``point`` names; raises nothing but KeyboardInterrupt."""
    imported = Imported()
    files, heavy, started = _stamps(), _heavy(), time.perf_counter()
    try:
        # Their output is no part of ours, which a program may read.
        with contextlib.redirect_stdout(sys.stderr):
            imported.value = _import(point)
        seconds = time.perf_counter() - started
        if seconds > SLOW_S:
            imported.warnings.append(_slow(point, seconds, _heavy() - heavy))
    except _Hangs:
        reason = f"did not end within {GIVE_UP_S:g} s"
        imported.problem = f"importing {point.value} {reason}: {_mend(point)}"
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        reason = f"raised {in_short(error)}"
        imported.problem = f"importing {point.value} {reason}: {_mend(point)}"
    if _stamps() != files and (written := _left_behind(point)):
        imported.warnings.append(
            f"importing {point.value} wrote to the working directory ({', '.join(written)}): "
            "an import must leave nothing behind"
        )
    return imported


def distribution(point: EntryPoint) -> str:
    """``dyt-vision 0.1.0``; of what no distribution registered, the object's address."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _mend(point: EntryPoint) -> str:
    """What is to be done about a plugin that does not work."""
    return f"mend {distribution(point)}, or uninstall it"


def in_short(error: BaseException) -> str:
    """One line: the exception, and where in whose code."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_ON_THE_WAY)
    ]
    if isinstance(error, SyntaxError) or not frames:  # it says itself where
        return text
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})"


class _Hangs(Exception):
    """An import does not end."""


def _import(point: EntryPoint) -> Any:
    """The object that ``point`` names; raises whatever its import does, or _Hangs.

    In a thread: no signal ends an import that waits in C, and a process for each plugin would
    take longer than most imports. The thread of one that hangs is left behind; it holds no exit.
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
        f"importing {point.value} took {seconds:.1f} s{cause}: keep what is slow inside the "
        "functions that need it"
    )


def _heavy() -> set[str]:
    return {name for name in _HEAVY if name in sys.modules}


def _stamps() -> dict[str, object]:
    """The top level of the working directory: name -> what changes when a file is written."""
    stamps: dict[str, object] = {}
    with contextlib.suppress(OSError), os.scandir() as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # gone again
                status = entry.stat(follow_symlinks=False)
                is_folder = entry.is_dir(follow_symlinks=False)
                stamps[entry.name] = None if is_folder else (status.st_mtime_ns, status.st_size)
    return stamps


def _left_behind(point: EntryPoint) -> list[str]:
    """What an import writes to a working directory that nobody else writes to.

    Another process may have changed the user's, and the plugin is not to be blamed for that.
    """
    path = [os.path.abspath(folder) for folder in sys.path]
    script = f"import sys; sys.path[:] = {path!r}; import {point.module}"
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.suppress(subprocess.TimeoutExpired):
            command = [sys.executable, "-c", script]
            quiet = subprocess.DEVNULL
            subprocess.run(command, cwd=folder, stdout=quiet, stderr=quiet, timeout=GIVE_UP_S)
        return sorted(os.listdir(folder))
