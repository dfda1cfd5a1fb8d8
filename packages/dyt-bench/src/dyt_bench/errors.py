"""Errors a user can mend: one sentence each, shown without a traceback, exit status 2."""


class UserError(ValueError):
    """The message names what was wrong, where, what was expected and how to mend it."""


class DataError(UserError):
    """The user's data is missing, or is not what the data set needs."""
