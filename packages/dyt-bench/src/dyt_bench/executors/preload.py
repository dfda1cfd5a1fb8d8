"""Imported by the fork server, and by nothing else: what its processes are to start with.

It acts on import, because a module to import is all that the standard library lets one give.
"""

import contextlib
import importlib
import os

from dyt_bench.executors.local import PRELOAD

# Out of the terminal's process group: Ctrl-C, or a scheduler's signal to all of a group, reaches
# the process that plans, which decides what becomes of the others.
os.setsid()
for name in os.environ.get(PRELOAD, "").split():
    # A plugin that cannot be imported spoils its own runs, and there the traceback is kept.
    with contextlib.suppress(BaseException):
        importlib.import_module(name)
