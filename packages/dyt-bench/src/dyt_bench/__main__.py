"""The program `dyt-bench`, also as `python -m dyt_bench`.

Imports and plug-ins take seconds before a command begins. A signal in that time ends the program
at once, with the status that it has later too.
"""

import os
import signal
from types import FrameType


def end_early(number: int, frame: FrameType | None) -> None:
    """A handler for SIGINT and SIGTERM while there is nothing to save and nothing to end."""
    os._exit(128 + number)


def run() -> None:
    """Run the command line."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end_early)
    from dyt_bench.cli import main

    main(prog_name="dyt-bench")


if __name__ == "__main__":
    run()
