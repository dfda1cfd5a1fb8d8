"""Imported by the fork server alone: imports the modules that its processes start with.

It acts on import, because the standard library lets one preload modules and nothing else.
"""

import contextlib
import importlib
import os

from dyt_bench.executors.local import PRELOAD
from dyt_bench.executors.orphans import end_jobs_with_parent

# Leave the terminal's process group: Ctrl-C, or a scheduler's signal to the group, then reaches
# the scheduling process alone, which decides what happens to the others.
os.setsid()
end_jobs_with_parent()
for name in os.environ.get(PRELOAD, "").split():
    # A plug-in that cannot be imported fails in its own runs, which keep the traceback.
    with contextlib.suppress(BaseException):
        importlib.import_module(name)
