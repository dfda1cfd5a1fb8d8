"""The folder a benchmark works in: records, timings, and the default MLflow store."""

import contextlib
import glob
import math
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from dyt_bench.errors import CannotWrite, UserError
from dyt_bench.plugin.atomic import write_json
from dyt_bench.plugin.task import Run, Task, Variant, digest
from dyt_bench.records.environment import processor
from dyt_bench.records.home import Home, Origin, identify
from dyt_bench.records.record import Record
from dyt_bench.records.stored import (
    SCHEMA,
    Newer,
    Unreadable,
    content_of,
    free_name,
    parsed,
    read_stored,
)

DEFAULT = Path(".dyt-bench")


@dataclass(frozen=True)
class Reported:
    """What a paper reports."""

    values: dict[str, float]  # variant label -> value
    metric: str = ""
    source: str = ""


@dataclass(frozen=True)
class SuiteRuns:
    """What a suite last ran."""

    title: str
    runs: list[str]  # names of the records' folders
    expected: dict[str, Reported] = field(default_factory=dict)  # by domain/model/dataset
    sections: list[str] = field(default_factory=list)  # of the report, added by packages
    looks: int = 1  # how often verdicts could have ended it
    # `Task.budget`s at which native is known to be still learning
    learning: list[str] = field(default_factory=list)


@cache
def _suites() -> TypeAdapter[SuiteRuns]:
    return TypeAdapter(SuiteRuns)


@cache
def _timings() -> TypeAdapter[dict[str, list[float]]]:
    return TypeAdapter(dict[str, list[float]])


class Workspace:
    """``runs/`` and ``timings/`` by identity, ``suites/`` with what a suite last ran.

    What cannot be read is moved to ``unreadable/`` and counts as not there; `problems` has a
    sentence for each.

    Raises:
        UserError: the folder is a workspace of an older version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.problems: list[str] = []
        self.newer: list[Newer] = []  # what of that a later version wrote
        self._owned = False  # whether this process holds the lock
        if (self.folder / "cells").exists():
            raise UserError(
                f"{folder} holds records in an earlier format, which this version does not read; "
                f"they are as they were: keep them with `mv {folder} {folder}-old`, or name "
                "another folder with --workspace"
            )

    def create(self) -> None:
        """Make the folder; raises UserError where it cannot be made or written to."""
        try:
            for name in ("runs", "timings", "suites"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            # Keeps the folder out of a repository that it lies in.
            (self.folder / ".gitignore").write_text("*\n")
        except OSError as error:
            raise UserError(
                f"cannot write to the workspace {self.folder}: {error.strerror}; "
                "name another folder with --workspace"
            ) from None

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Create the folder and lock it for one command; the lock ends with its process.

        Raises:
            UserError: the folder cannot be written, or another run works in it.
        """
        from filelock import FileLock, Timeout

        self.create()
        owner = self.folder / "running.json"
        lock = FileLock(self.folder / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise UserError(
                f"another run, process {_process(owner)}, works in {self.folder}: wait for it, or "
                "name another folder with --workspace"
            ) from None
        except OSError as error:
            raise UserError(
                f"cannot lock the workspace with {self.folder / 'lock'}: {error.strerror}; remove "
                "it, or name another folder with --workspace"
            ) from None
        self._owned = True
        try:
            with contextlib.suppress(CannotWrite):  # a folder in its place: it only informs
                write_json(owner, {"pid": os.getpid()})
            yield
            with contextlib.suppress(OSError):
                owner.unlink(missing_ok=True)
        finally:
            self._owned = False
            lock.release()

    @cached_property
    def home(self) -> tuple[str, Home]:
        """The workspace's identity, and where it is; a copy gets an identity of its own."""
        return identify(self.folder, self.set_aside)

    @property
    def identity(self) -> str:
        """A name that the folder keeps when it moves; trackers tell by it whose a run is."""
        return self.home[0]

    @property
    def origin(self) -> Origin:
        """Where the results of this workspace come from."""
        return Origin(self.identity, self.home[1].host)

    @property
    def is_running(self) -> bool:
        """Whether a command works here now: it holds the lock, which ends with its process."""
        from filelock import FileLock, Timeout

        try:
            with FileLock(self.folder / "lock", timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # a folder without permission, or a folder in the lock's place
            return False

    def readable(self, records: Iterable[Record]) -> list[Record]:
        """The records that can be read, begun or not, each once; the others are set aside."""
        found = []
        for record in {record.folder: record for record in records}.values():
            try:
                record.check(record.folder.name.rpartition("-")[2])
            except Unreadable as problem:
                self.set_aside(problem, record.folder)
            else:
                found.append(record)
        return found

    def set_aside(self, problem: Unreadable, path: Path | None = None) -> None:
        """Move what cannot be read to ``unreadable/``, and add a sentence to `problems`.

        What a later version wrote stays, and so does all while another command works here.

        Args:
            path: what to move; by default the file that cannot be read.
        """
        path = path or problem.path
        if isinstance(problem, Newer):
            self.problems.append(str(problem))
            self.newer.append(problem)
            return
        stays = "it stays, as another run works here" if self._is_of_others else ""
        if not stays:
            aside = free_name(self.folder / "unreadable" / path.name)
            try:
                aside.parent.mkdir(exist_ok=True)
                os.rename(path, aside)
            except OSError as error:
                stays = f"it stays, as it cannot be moved: {error.strerror}"
        self.problems.append(f"{problem}; {stays or f'it is kept as {aside}'}, and left out")

    @property
    def _is_of_others(self) -> bool:
        """Whether another command works here."""
        return not self._owned and self.is_running

    @property
    def database(self) -> Path:
        """MLflow's default store."""
        return self.folder / "mlflow.db"

    @property
    def tracking_uri(self) -> str:
        """The address of `database`, as MLflow wants it."""
        return f"sqlite:///{self.database}"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def artifacts(self) -> Path:
        """Where the default store keeps its artifacts."""
        return self.folder / "artifacts"

    def record(self, run: Run) -> Record:
        """The run's record, begun or not; the folder's name starts readable."""
        task = run.task
        name = f"{task.domain}-{task.model}-{run.variant.name}-s{task.seed}-{run.identity}"
        return Record(self.runs / name)

    def suite_path(self, name: str) -> Path:
        """Where the runs that a suite last ran are listed."""
        return self.folder / "suites" / f"{name}.json"

    def suite(self, name: str) -> SuiteRuns | None:
        """What the suite of that name last ran; None if it has not, or if that cannot be read."""
        try:
            return self.listed(name)
        except Unreadable as problem:
            self.set_aside(problem)
            return None

    def listed(self, name: str) -> SuiteRuns | None:
        """The same, where nothing is set aside: raises Unreadable."""
        path = self.suite_path(name)
        found = read_stored(path, _suites())
        for folder in () if found is None else found.runs:
            if folder in ("", ".", "..") or "/" in folder or "\0" in folder:
                raise Unreadable(path, f"{folder!r} is no name of a record")
        return found

    def list_suite(self, name: str, runs: SuiteRuns) -> None:
        """Write down what a suite runs.

        Raises:
            Newer: a later version wrote what is there.
        """
        path = self.suite_path(name)
        try:
            read_stored(path, _suites())
        except Newer:
            raise
        except Unreadable as problem:
            self.set_aside(problem)
        write_json(path, {"schema": SCHEMA, **asdict(runs)})

    def fresh_path(self, name: str) -> Path:
        """There while a suite is repeated; when that began."""
        return self.folder / "suites" / "fresh" / f"{name}.json"

    def fresh_since(self, name: str) -> float:
        """When the suite began to be repeated, in seconds since the epoch: now, unless it is."""
        path = self.fresh_path(name)
        try:
            since = (read_stored(path, TypeAdapter(dict[str, float])) or {}).get("since", math.nan)
        except Unreadable as problem:
            self.set_aside(problem)
            since = math.nan
        if not math.isfinite(since):
            since = time.time()
            path.parent.mkdir(exist_ok=True)
            write_json(path, {"schema": SCHEMA, "since": since})
        return since

    def records_of(self, runs: SuiteRuns) -> list[Record]:
        """The records that a suite lists."""
        return [Record(self.runs / folder) for folder in runs.runs]

    def suites(self) -> list[str]:
        """Names of the suites that have run here."""
        return sorted(path.stem for path in (self.folder / "suites").glob("*.json"))

    def suites_by_age(self) -> list[str]:
        """Names of the suites that have run here, the last one last."""
        paths = sorted((self.folder / "suites").glob("*.json"), key=changed)
        return [path.stem for path in paths]

    def timing_path(self, task: Task, variants: list[Variant], *, compile: bool = False) -> Path:
        """Where the seconds of a task's interleaved steps on this machine's processor are kept."""
        keys = [variant.key for variant in variants] + [_COMPILED] * compile
        name = _timing_name(task.domain, task.model, task.identity, keys)
        return self.folder / "timings" / f"{name}-{digest(processor())[:6]}.json"

    def timing(self, path: Path) -> dict[str, list[float]] | None:
        """What `timing_path` holds; None if it does not exist, or cannot be read."""
        try:
            content = content_of(path)
            if content is None:
                return None
            seconds = parsed(path, content, _timings())
            if len({len(rounds) for rounds in seconds.values()}) != 1 or not all(
                math.isfinite(value) and value > 0 for value in chain(*seconds.values())
            ):
                raise Unreadable(path, "it is no table of seconds, as many of each variant")
        except Unreadable as problem:
            self.set_aside(problem)
            return None
        return seconds

    def timings(
        self, records: Iterable[Record], *, compile: bool = False
    ) -> dict[str, dict[str, list[float]]]:
        """Of every timed task among the records: identity -> variant -> seconds by round.

        All of one processor, the one that timed last: times of two are not pooled.
        """
        keys: dict[tuple[str, str, str], list[str]] = {}
        for record in records:
            about = record.about()
            if about:
                p = about["parameters"]
                task = (p["domain"], p["model"], about["task_identity"])
                code = about["digests"].get("variant", "")
                keys.setdefault(task, []).append(f"{p['variant']}@{code}" if code else p["variant"])
        folder = self.folder / "timings"
        more = [_COMPILED] * compile
        files = {
            task: list(folder.glob(f"{glob.escape(_timing_name(*task, own + more))}-*.json"))
            for task, own in keys.items()
        }
        newest = max(chain(*files.values()), key=changed, default=None)
        if newest is None:
            return {}
        timed_by = newest.stem.rpartition("-")[2]
        return {
            identity: seconds
            for (_, _, identity), own in files.items()
            for file in own
            if file.stem.endswith(f"-{timed_by}") and (seconds := self.timing(file))
        }


# In the place of a variant: what follows was timed under torch.compile. No variant has such a key.
_COMPILED = "(compiled)"


def _timing_name(domain: str, model: str, task: str, keys: list[str]) -> str:
    return f"{domain}-{model}-{digest(task, keys)}"


def changed(path: Path) -> float:
    """When a file, or the link in its place, was changed."""
    with contextlib.suppress(OSError):
        return path.lstat().st_mtime
    return 0.0


def _process(owner: Path) -> Any:
    """The number of the process that works here, for a message."""
    with contextlib.suppress(Unreadable):
        return (read_stored(owner, TypeAdapter(dict[str, Any])) or {}).get("pid", "unknown")
    return "unknown"
