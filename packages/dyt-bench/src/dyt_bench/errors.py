"""Errors a user can mend: one sentence each, shown without a traceback, exit status 2."""

import os
from pathlib import Path


class UserError(ValueError):
    """The message names what was wrong, where, what was expected and how to mend it."""


class DataError(UserError):
    """The user's data is missing, or is not what the data set needs."""


class CannotWrite(UserError):
    """A record could not be written, most often because the disk is full; the run stops."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(path, error)
        self.path, self.error = path, error

    def __str__(self) -> str:
        reason = os.strerror(self.error.errno) if self.error.errno else str(self.error)
        return (
            f"cannot write {self.path}: {reason}; what was written before is whole: make room "
            "and give the same command again, which continues"
        )
