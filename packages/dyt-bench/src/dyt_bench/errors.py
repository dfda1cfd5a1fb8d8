"""Errors that a user can fix: one sentence each, shown without a traceback, exit status 2."""

import os
from pathlib import Path


class UserError(ValueError):
    """The message says what is wrong, where, what was expected and how to fix it."""


class DataError(UserError):
    """The user's data is missing, or is not what the data set needs."""


class CannotWrite(UserError):
    """A record cannot be written, most often because the disk is full; the run stops."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(path, error)
        self.path, self.error = path, error

    def __str__(self) -> str:
        reason = os.strerror(self.error.errno) if self.error.errno else str(self.error)
        return (
            f"cannot write {self.path}: {reason}; what was written before is whole: make room "
            "and repeat the command, which resumes"
        )
