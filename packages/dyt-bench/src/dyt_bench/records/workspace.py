"""The folder a benchmark works in: records, timings, and the default MLflow store."""

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from dyt_bench.errors import UserError
from dyt_bench.plugin.atomic import read_json, write_json
from dyt_bench.plugin.task import Run, Task, Variant, digest
from dyt_bench.records.environment import processor
from dyt_bench.records.record import Record

DEFAULT = Path(".dyt-bench")


class Workspace:
    """``runs/`` and ``timings/`` by identity, ``suites/`` with what a suite last ran.

    Raises:
        UserError: the folder is a workspace of an older version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
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
        try:
            with FileLock(self.folder / "lock", timeout=0):
                write_json(owner, {"pid": os.getpid()})
                yield
                owner.unlink(missing_ok=True)
        except Timeout:
            process = (read_json(owner) or {}).get("pid", "unknown")
            raise UserError(
                f"another run, process {process}, works in {self.folder}: wait for it, or name "
                "another folder with --workspace"
            ) from None

    @property
    def identity(self) -> str:
        """A name that the folder keeps when it moves; trackers tell by it whose a run is."""
        path = self.folder / "id"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(uuid.uuid4().hex[:12])
        return path.read_text()

    @property
    def is_running(self) -> bool:
        """Whether a command works here now: it holds the lock, which ends with its process."""
        from filelock import FileLock, Timeout

        try:
            with FileLock(self.folder / "lock", timeout=0):
                return False
        except Timeout:
            return True

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

    def suites(self) -> list[str]:
        """Names of the suites that have run here."""
        return sorted(path.stem for path in (self.folder / "suites").glob("*.json"))

    def suites_by_age(self) -> list[str]:
        """Names of the suites that have run here, the last one last."""
        paths = sorted((self.folder / "suites").glob("*.json"), key=lambda p: p.stat().st_mtime)
        return [path.stem for path in paths]

    def timing_path(self, task: Task, variants: list[Variant]) -> Path:
        """Where the seconds of a task's interleaved steps on this machine's processor are kept."""
        name = _timing_name(task.domain, task.model, task.identity, [v.key for v in variants])
        return self.folder / "timings" / f"{name}-{digest(processor())[:6]}.json"

    def timings(self, records: Iterable[Record]) -> dict[str, dict[str, list[float]]]:
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
        files = {
            task: list(folder.glob(f"{_timing_name(*task, own)}-*.json"))
            for task, own in keys.items()
        }
        newest = max(chain(*files.values()), key=lambda file: file.stat().st_mtime, default=None)
        if newest is None:
            return {}
        timed_by = newest.stem.rpartition("-")[2]
        return {
            identity: seconds
            for (_, _, identity), own in files.items()
            for file in own
            if file.stem.endswith(f"-{timed_by}") and (seconds := read_json(file))
        }


def _timing_name(domain: str, model: str, task: str, keys: list[str]) -> str:
    return f"{domain}-{model}-{digest(task, keys)}"
