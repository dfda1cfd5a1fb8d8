"""The address of an MLflow store: whether anything answers there, and how it is shown."""

import os
import sqlite3
import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from dyt_bench.errors import UserError, printable, shortened

PROBE_S = 10.0  # a server that takes longer to answer one request counts as absent
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
# Parts of MLflow's settings that are secret.
_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
_OURS = str(round(PROBE_S))  # in its place where the user gives none
_SEARCH = "/api/2.0/mlflow/experiments/search"


def set_timeout() -> None:
    """Have MLflow's client wait for an answer as long as we do, unless the user says otherwise."""
    os.environ.setdefault(_TIMEOUT, _OURS)


def scheme(uri: str) -> str:
    return uri.partition(":")[0].partition("+")[0]


def is_served(uri: str) -> bool:
    """Whether the store is an MLflow server."""
    return scheme(uri) in ("http", "https")


def is_remote(uri: str) -> bool:
    """Whether the store is a server, which may stop and start while a suite runs."""
    return scheme(uri) in _PORTS


def sqlite_path(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def shown(uri: str) -> str:
    """The address without user, password and query, which may hold secrets."""
    start, separator, rest = uri.partition("://")
    if not separator:
        return printable(uri)
    place, query, _ = rest.partition("?")
    authority, slash, path = place.partition("/")
    authority = authority.rpartition("@")[2]
    return printable(f"{start}://{authority}{slash}{path}{'?...' if query else ''}")


def hidden(text: str, uri: str) -> str:
    """A message on one line, without what is secret of the address and of MLflow's settings."""
    secrets = [os.environ.get(name, "") for name in _SECRETS]
    authority, _, query = uri.partition("://")[2].partition("?")
    user = authority.partition("/")[0].rpartition("@")[0]
    secrets += [user, user.partition(":")[2], *(p.partition("=")[2] for p in query.split("&"))]
    text = text.replace(uri, shown(uri))
    for secret in sorted({*secrets, *map(unquote, secrets)}, key=len, reverse=True):
        if secret:
            text = text.replace(secret, "***")
    return shortened(printable(text))


def outage(uri: str) -> str | None:
    """Why the server at ``uri`` does not answer now; None if it answers, or is no server.

    An MLflow server is asked as MLflow's own client asks it: with the user's certificates, tokens
    and time-out.

    Raises:
        UserError: it never will: ``uri`` is no address, what answers is not MLflow, or it refuses
            this user.
    """
    if not is_remote(uri):
        return None
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port or _PORTS[scheme(uri)]
    except ValueError as error:
        said = hidden(str(error), uri)
        raise UserError(f"{shown(uri)} is not an address ({said}): fix --tracking-uri") from None
    if host is None:  # a database behind a local socket
        return None
    if is_served(uri):
        return _no_answer(uri)
    import socket

    try:
        with socket.create_connection((host, port), timeout=PROBE_S):
            return None
    except OSError as error:
        return hidden(str(error), uri)


def _no_answer(uri: str) -> str | None:
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    given = os.environ.get(_TIMEOUT, _OURS)
    try:
        answer = http_request(  # type: ignore[no-untyped-call]
            get_default_host_creds(uri),  # type: ignore[no-untyped-call]
            _SEARCH,
            "POST",
            max_retries=0,
            timeout=PROBE_S if given == _OURS else float(given),
            raise_on_status=False,
            json={"max_results": 1},
        )
    except Exception as error:  # requests' own, and what MLflow makes of them
        said = _cause(error, uri)
        if "certificate" in f"{error} {said}".lower():
            raise UserError(
                f"the certificate of {shown(uri)} is not trusted ({said}): set "
                "MLFLOW_TRACKING_SERVER_CERT_PATH to the file of the authority that signed it"
            ) from None
        if "[SSL" in said:
            raise UserError(
                f"what answers at {shown(uri)} speaks no TLS: begin --tracking-uri with http://"
            ) from None
        return said
    return _refusal(answer, uri)


def _refusal(answer: Any, uri: str) -> str | None:
    """Why the answer is none of an MLflow server that takes this user; None if it is."""
    status = answer.status_code
    if status == 401:
        raise UserError(
            f"MLflow at {shown(uri)} does not know this user (status 401): set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    if status == 403:
        raise UserError(
            f"MLflow at {shown(uri)} refuses this user (status 403): ask for the permission to "
            "write experiments, or name another store with --tracking-uri"
        )
    if status >= 500 or status in (408, 425, 429):
        return f"status {status}"
    try:
        content = answer.json()
    except ValueError:
        content = None
    if status >= 400 or not isinstance(content, dict):
        raise UserError(
            f"what answers at {shown(uri)} is not MLflow (status {status} and "
            f"{'no JSON' if content is None else 'JSON of another kind'}): fix --tracking-uri"
        )
    return None


def _cause(error: BaseException, uri: str) -> str:
    """The innermost reason that says something, as `requests` wraps it several times."""
    import requests

    text, found = str(error), error
    while (found := found.__cause__ or found.__context__) is not None:  # type: ignore[assignment]
        if isinstance(found, OSError) and not isinstance(found, requests.RequestException):
            text = found.strerror or str(found) or text
    if "timed out" in text.lower():
        text = "no answer in time"
    return hidden(text, uri)


def check_database(uri: str) -> None:
    """Connect once to a database; MLflow would try for minutes before it says why it cannot.

    Raises:
        Exception: what the database's library raises.
        TimeoutError: it does not answer.
    """
    raised: list[BaseException] = []

    def connect() -> None:
        try:
            path = sqlite_path(uri)
            if path is not None:
                connection = sqlite3.connect(path, timeout=PROBE_S)
                connection.execute("PRAGMA schema_version").fetchone()
                connection.close()
            elif is_remote(uri) and not is_served(uri):
                import sqlalchemy

                engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
                engine.connect().close()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=connect, name="connect", daemon=True)
    thread.start()
    thread.join(PROBE_S + 5)
    if raised:
        raise raised[0]
    if thread.is_alive():
        raise TimeoutError("no answer in time")
