"""Where multiprocessing keeps its sockets: in a folder whose path is short enough for them."""

import os
import tempfile
from multiprocessing import util

# A socket's path may have 107 bytes, of which multiprocessing's own names take some thirty.
_MOST = 70
_SHORT = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock")


def short_paths() -> None:
    """Have this process keep its sockets elsewhere, if the folder for temporary files is too deep.

    Batch systems name such a folder for each job. Called before the first socket is made;
    afterwards it does nothing.
    """
    if len(os.fsencode(tempfile.gettempdir())) <= _MOST:
        return
    short = next((folder for folder in _SHORT if os.access(folder, os.W_OK | os.X_OK)), None)
    if short is None:
        return
    given, tempfile.tempdir = tempfile.tempdir, short
    try:
        util.get_temp_dir()  # chosen once, and kept
    finally:
        tempfile.tempdir = given
