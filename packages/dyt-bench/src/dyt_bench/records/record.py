"""The record of one run: a folder from which MLflow, verdicts and reports are made.

``run.json``     what the run is and where it ran, written before it starts
``rows.jsonl``   one line for each set of metrics, flushed as it comes
``result.json``  how it ended, written last: a folder without it did not end
``log.txt``      what the process printed, tracebacks included
``artifacts/``   pictures that the domain made at the end
``origin.json``  the workspace that it comes from, where it was merged into another one
``weights.pt``   the weights at the end, where `run --keep-weights` asked for them
``checkpoint``   the latest state of training; removed when the run has ended

A run that was cut off resumes from its checkpoint, or starts again. It then computes again what
it had computed since, to the bit; rows that are there already are not written twice.
"""

import errno
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter

from dyt_bench.errors import CannotWrite, quoted
from dyt_bench.plugin.atomic import write_json
from dyt_bench.plugin.task import Run
from dyt_bench.records.environment import installed
from dyt_bench.records.home import Origin, read_origin
from dyt_bench.records.stored import (
    SCHEMA,
    Newer,
    Unreadable,
    content_of,
    decoded,
    parsed,
    read_stored,
)
from dyt_bench.training.outcome import Outcome

_LOCK_S = 30.0  # that a process whose parent was killed may take to end

_Name = Annotated[str, Field(pattern=r"^[^/\x00-\x1f]+$")]  # part of a file's name


class _Parameters(BaseModel):
    """What `dyt_bench.plugin.task.Run.parameters` always has; other keys are not checked."""

    model_config = ConfigDict(extra="allow")

    domain: _Name
    model: _Name
    dataset: str
    variant: str
    checkpoint: str = ""
    path: str = ""
    options: str = ""
    training: str = ""
    seed: int
    steps: Annotated[int, Field(gt=0)]
    batch_size: Annotated[int, Field(gt=0)]
    val_every: Annotated[int, Field(gt=0)]
    learning_rate: FiniteFloat
    train_samples: int | None = None
    alpha_init_value: float | None = None
    recipe: str | None = None
    metrics: str = ""


class _About(BaseModel):
    """``run.json``."""

    identity: str
    task_identity: str
    label: str
    started: FiniteFloat
    parameters: _Parameters
    digests: dict[str, str]
    environment: dict[str, str]


# Made when they are used first, as it takes milliseconds.
@cache
def _abouts() -> TypeAdapter[_About]:
    return TypeAdapter(_About)


@cache
def _results() -> "TypeAdapter[Result]":
    return TypeAdapter(Result)


@cache
def _rows() -> TypeAdapter[list[dict[str, int | float]]]:
    return TypeAdapter(list[dict[str, int | float]])


@dataclass(frozen=True, kw_only=True)
class Result(Outcome):
    """How a run ended, and when."""

    started: float  # seconds since the epoch
    ended: float  # seconds since the epoch

    @property
    def missing(self) -> list[str]:
        """A sentence for each metric that could not be taken at the end, with the reason."""
        return [
            f"metric {quoted(name.removeprefix('eval/'))} could not be taken: {why}"
            for name, why in self.facts.items()
            if name.startswith("eval/")
        ]


class Record:
    """A run's folder. One process writes it; any may read it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.appended = 0  # rows so far, those from before an interruption included
        self._there = 0  # rows in the file that were written before an interruption

    @property
    def rows_path(self) -> Path:
        return self.folder / "rows.jsonl"

    @property
    def artifacts(self) -> Path:
        """Pictures that the domain made at the end; the folder may be missing."""
        return self.folder / "artifacts"

    @property
    def about_path(self) -> Path:
        """What `about` reads: parameters, digests, environment."""
        return self.folder / "run.json"

    @property
    def packages_path(self) -> Path:
        """What was installed, as pip takes it; records of earlier versions have none."""
        return self.folder / "packages.txt"

    @property
    def log_path(self) -> Path:
        return self.folder / "log.txt"

    @property
    def result_path(self) -> Path:
        """There once the run has ended."""
        return self.folder / "result.json"

    @property
    def weights_path(self) -> Path:
        """A state dict for `dyt_bench.records.weights.load_weights`; only with `--keep-weights`."""
        return self.folder / "weights.pt"

    @property
    def checkpoint_path(self) -> Path:
        return self.folder / "checkpoint"

    @property
    def origin_path(self) -> Path:
        return self.folder / "origin.json"

    @property
    def begun(self) -> bool:
        """Whether there is something to resume, or to read."""
        return self.about_path.exists() and self.rows_path.exists()

    def check(self, identity: str = "") -> None:
        """Read all of the record.

        Args:
            identity: of the run that it must be of; by default of any.

        Raises:
            Unreadable: a part of it cannot be read or is missing, or is another run's.
            Newer: a later version wrote it.
        """
        if os.path.lexists(self.folder) and not self.folder.is_dir():
            raise Unreadable(self.folder, "it is no folder")
        about, result = self.about(), self.result()
        if result is not None and not about:
            raise Unreadable(self.folder, "it has no run.json")
        if about and identity and about["identity"] != identity:
            raise Unreadable(self.folder, f"it is of the run {quoted(about['identity'])}")
        self.origin()
        if result is not None and not os.path.lexists(self.rows_path):
            raise Unreadable(self.folder, "it has no rows.jsonl")
        self.rows()

    def begin(self, run: Run, environment: Mapping[str, str]) -> None:
        """Start the folder afresh; what an earlier run left is removed.

        Raises:
            Newer: a later version wrote what is there.
            CannotWrite: the folder cannot be made.
        """
        try:
            self.about()
            self.result()
        except Newer:
            raise
        except Unreadable:
            pass
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self.folder.mkdir(parents=True)
            self.packages_path.write_text(installed(), encoding="utf-8")
        except OSError as error:
            raise CannotWrite(self.folder, error) from error
        task = run.task
        digests = {
            "data": task.data_digest,
            "code": task.code_digest,
            "preset": task.preset_digest,
        }
        if task.checkpoint_digest:
            digests["checkpoint"] = task.checkpoint_digest
        if run.variant.code_digest:
            digests["variant"] = run.variant.code_digest
        about = {
            "schema": SCHEMA,
            "identity": run.identity,
            "task_identity": run.task.identity,
            "label": run.label,
            "started": time.time(),
            "parameters": run.parameters(),
            "digests": digests,
            "environment": dict(environment),
        }
        self.rows_path.touch()
        write_json(self.about_path, about)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the record's lock; waits for a process whose parent was killed to end."""
        from filelock import FileLock

        with FileLock(self.folder / "lock", timeout=_LOCK_S):
            yield

    def reopen(self) -> None:
        """Resume a run that was cut off or failed: its rows and its checkpoint stay."""
        self.origin_path.unlink(missing_ok=True)
        self.result_path.unlink(missing_ok=True)

    def resume(self, appended: int) -> bool:
        """Make the next row number ``appended``; rows from there on stay as they are.

        A last line that was cut off in the middle is removed. Returns False, and changes nothing,
        if the file does not hold that many rows.
        """
        content = self.rows_path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        there = whole.count(b"\n")
        if there < appended:
            return False
        if whole != content:
            os.truncate(self.rows_path, len(whole))
        self.appended, self._there = appended, there
        return True

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add a row and flush it. ``step`` counts optimiser steps done.

        Raises:
            CannotWrite: the disk is full; no part of the row is left behind.
        """
        self.appended += 1
        if self.appended <= self._there:
            return
        row = {"step": step, "time": time.time(), **metrics}
        line = (json.dumps(row) + "\n").encode()
        with self.rows_path.open("ab", buffering=0) as file:
            end = file.tell()
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                file.truncate(end)
                raise CannotWrite(self.rows_path, error) from error

    def flush(self) -> None:
        """Sync the rows to the disk, so that they survive a loss of power."""
        with self.rows_path.open("rb") as file:
            os.fsync(file.fileno())

    def finish(self, result: Result) -> None:
        """Write the result, whole or not at all; a run that has finished needs no checkpoint.

        One that diverged keeps its last one, from which its end can be replayed.
        """
        write_json(self.result_path, {"schema": SCHEMA, **asdict(result)})
        if result.status == "finished":
            self.checkpoint_path.unlink(missing_ok=True)

    def about(self) -> dict[str, Any]:
        """What `begin` wrote; empty if it has not. Raises Unreadable."""
        path = self.about_path
        content = content_of(path)
        if content is None:
            return {}
        about = decoded(path, content)
        parsed(path, content, _abouts())
        return about

    def rows(self) -> list[dict[str, float]]:
        """Every row so far; while the run is active the last line may be incomplete.

        Raises:
            Unreadable: a line is no row.
        """
        whole, _, _ = (content_of(self.rows_path) or b"").rpartition(b"\n")
        # As one list: two thousand records of a hundred lines each are read twice as fast.
        rows = parsed(self.rows_path, b"[" + b",".join(whole.splitlines()) + b"]", _rows())
        for number, row in enumerate(rows, start=1):
            # A number that is missing is none either.
            if not all(math.isfinite(row.get(key, math.nan)) for key in ("step", "time")):
                raise Unreadable(self.rows_path, f"row {number} has no step or no time")
        return rows

    def rows_after(self, offset: int) -> tuple[list[dict[str, float]], int]:
        """The rows after so many bytes of the file, and the offset after them.

        An incomplete last line is left. A file that is not there has no rows.
        """
        try:
            with self.rows_path.open("rb") as file:
                file.seek(offset)
                lines, newline, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return [], offset
        rows = [json.loads(line) for line in lines.splitlines()]
        return rows, offset + len(lines) + len(newline)

    def origin(self) -> Origin | None:
        """Where it comes from; None if it was made in this workspace. Raises Unreadable."""
        return read_origin(self.origin_path)

    def result(self) -> Result | None:
        """How the run ended; None while it runs, or if it was cut off. Raises Unreadable."""
        result = read_stored(self.result_path, _results())
        if result is not None and not (
            math.isfinite(result.started) and math.isfinite(result.ended)
        ):
            raise Unreadable(self.result_path, "its times are no finite numbers")
        return result
