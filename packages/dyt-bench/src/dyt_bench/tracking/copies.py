"""Copies runs to mirrors, such as TensorBoard, from the records; training never waits for it.

A thread for each mirror reads the records. A copy that fails is begun again later; what is whole is
noted in the workspace, and not sent twice.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from dyt_bench.errors import UserError, reason
from dyt_bench.plugin.atomic import read_json, write_json
from dyt_bench.plugin.mirrors import CopiedEnd, CopiedRun, MakeMirror, OpenRun, RunMirror
from dyt_bench.records.record import Record
from dyt_bench.records.workspace import Workspace
from dyt_bench.tracking.sender import CLOSE_S, Sender


def make_copies(
    mirrors: Mapping[str, MakeMirror], workspace: Workspace, suite: str
) -> list["Copies"]:
    """Those to each of the mirrors; nothing is sent yet.

    Raises:
        UserError: one of them cannot be used here.
    """
    made = []
    for name, make in mirrors.items():
        folder = workspace.folder / "mirrors"
        noted = folder / f"{name}.sent" / f"{suite}.json"
        made.append(Copies(name, make(folder / name, suite), noted, suite))
    return made


class Copies:
    """The copies of a suite's runs in one mirror.

    Args:
        noted: the file that says what is whole.
    """

    def __init__(self, name: str, mirror: RunMirror, noted: Path, suite: str) -> None:
        self.name, self.mirror, self.suite = name, mirror, suite
        self._sent = _Sent(noted)
        self._sender = Sender[_Copy](
            f"mirror {name}", lambda copy, last: copy.send(last=last), _said, "it is too slow"
        )

    @property
    def problem(self) -> str | None:
        """Why the mirror lacks something; None if it does not."""
        return self._sender.problem

    def start(self) -> None:
        """Start the thread that sends."""
        self._sender.start()

    def follow(self, record: Record) -> None:
        """Copy the record from now on, until it has a result or this closes."""
        self._sender.follow(_Copy(record, self.mirror, self.suite, self._sent))

    def close(self, patience_s: float = CLOSE_S) -> None:
        """Send what remains and stop; runs without a result are marked as killed.

        Args:
            patience_s: the longest to wait for that.
        """
        self._sender.close(patience_s)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {reason(error)}"


def copy_suite(copies: Copies, records: Sequence[Record], *, live: bool) -> int:
    """Send runs that have begun, without a thread; returns how many were not there.

    Args:
        live: whether `dyt-bench run` is at work: runs without a result are then left to it.

    Raises:
        UserError: the mirror did not take one.
    """
    new = 0
    for record in records:
        if live and record.result() is None:
            continue
        copy = _Copy(record, copies.mirror, copies.suite, copies._sent)
        new += not copy.is_whole
        try:
            copy.send(last=True)
        except Exception as error:  # of the mirror's library
            raise UserError(
                f"the mirror {copies.name} did not take {record.folder.name} ({reason(error)}): "
                "repeat the command once that is fixed"
            ) from error
    return new


class _Sent:
    """Which runs are whole in a mirror: key -> a hash of the result that was sent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        found = read_json(path)
        self.results: dict[str, str] = found if isinstance(found, dict) else {}

    def add(self, key: str, result: str) -> None:
        self.results[key] = result
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, self.results)


class _Copy:
    """One record on its way to a mirror."""

    def __init__(self, record: Record, mirror: RunMirror, suite: str, sent: _Sent) -> None:
        self.record, self.mirror, self.suite, self.sent = record, mirror, suite, sent
        self._open: OpenRun | None = None
        self._offset = 0  # bytes of rows read

    @property
    def is_whole(self) -> bool:
        """Whether the mirror has all of it, step times included, which come later."""
        about = self.record.about()
        return bool(about) and self.sent.results.get(_key(about)) == self._result()

    def send(self, *, last: bool) -> bool:
        """Send what is new; True once nothing more will come.

        Args:
            last: whether no process writes the record any more.
        """
        try:
            return self._send(last=last)
        except Exception:
            self._open, self._offset = None, 0  # what arrived is unknown: begin again
            raise

    def _send(self, *, last: bool) -> bool:
        result = self.record.result()  # read first: with a result, all rows are written
        content = self._result()
        about = self.record.about()
        if not about or self.is_whole:
            return True
        if self._open is None:
            self._open = self.mirror.begin(_begun(about, self.suite))
        rows, offset = self.record.rows_after(self._offset)
        if rows:
            self._open.log(rows)
        self._offset = offset
        if result is None and not last:
            return False
        if result is None:
            rows = rows or self.record.rows()
            ended = rows[-1]["time"] if rows else about["started"]
            self._open.finish(CopiedEnd("killed", "", ended, {}, {}, {}))
            return True
        end = CopiedEnd(
            result.status, result.reason, result.ended, result.best, result.last, result.summary
        )
        self._open.finish(end)
        self.sent.add(_key(about), content)
        return True

    def _result(self) -> str:
        path = self.record.result_path
        return sha256(path.read_bytes()).hexdigest()[:16] if path.exists() else "none"


def _key(about: dict[str, Any]) -> str:
    """Of a run; one that is started again with --fresh has another."""
    return f"{about['identity']}-{round(1e3 * about['started'])}"


def _begun(about: dict[str, Any], suite: str) -> CopiedRun:
    parameters = about["parameters"]
    group = "/".join(str(parameters[name]) for name in ("domain", "model", "dataset"))
    plain = {
        name: value if isinstance(value, int | float) else str(value)
        for name, value in parameters.items()
        if value is not None and name != "variant"
    }
    tags = {
        "identity": about["identity"],
        **{f"digest.{name}": value for name, value in about["digests"].items()},
        **{f"env.{name}": value for name, value in about["environment"].items()},
    }
    return CopiedRun(
        _key(about),
        about["label"],
        suite,
        group,
        parameters["variant"],
        about["started"],
        plain,
        tags,
    )
