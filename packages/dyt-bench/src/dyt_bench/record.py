"""The record of one cell: a folder whose files are the truth that all else is made from.

``cell.json``    what the cell is and where it ran, written before it starts
``rows.jsonl``   one line for each set of metrics, flushed as it comes
``result.json``  how it ended, written last and at once: a folder without it did not end
``log.txt``      what the process printed, tracebacks included
``artifacts/``   pictures that the domain made at the end
"""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dyt_bench.cell import Cell
from dyt_bench.files import read_json, write_json

Status = Literal["finished", "diverged", "failed"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a cell ended, with all that is known only then."""

    status: Status
    reason: str = ""  # why, when not finished: one sentence
    started: float  # seconds since the epoch
    ended: float  # seconds since the epoch
    # metric -> value over the run's validations
    first: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)  # at the domain's metric's best
    last: dict[str, float] = field(default_factory=dict)  # at the end of the budget
    # what was measured of the run as a whole: "time/step_ms", "memory/peak_mib", ...
    summary: dict[str, float] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)  # digests, device, threads
    alpha: dict[str, float] = field(default_factory=dict)  # layer -> alpha at the end
    saturation: dict[str, float] = field(default_factory=dict)  # layer -> share of its inputs


class Record:
    """A cell's folder. One process writes it; any may read it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def rows_path(self) -> Path:
        return self.folder / "rows.jsonl"

    @property
    def artifacts(self) -> Path:
        """Pictures that the domain made at the end; the folder may be missing."""
        return self.folder / "artifacts"

    @property
    def log_path(self) -> Path:
        return self.folder / "log.txt"

    def begin(self, cell: Cell, environment: Mapping[str, str]) -> None:
        """Start the folder afresh; what an earlier, unfinished run left is removed."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        about = {
            "identity": cell.identity,
            "task_identity": cell.task.identity,
            "label": cell.label,
            "started": time.time(),
            "parameters": cell.parameters(),
            "digests": {"data": cell.task.data_digest, "code": cell.task.code_digest},
            "environment": dict(environment),
        }
        write_json(self.folder / "cell.json", about)
        self.rows_path.touch()

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add a row and flush it. ``step`` counts optimiser steps done."""
        row = {"step": step, "time": time.time(), **metrics}
        with self.rows_path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def finish(self, result: Result) -> None:
        """Write the result, whole or not at all."""
        write_json(self.folder / "result.json", asdict(result))

    def about(self) -> dict[str, Any]:
        """What `begin` wrote."""
        return dict(read_json(self.folder / "cell.json") or {})

    def rows(self) -> list[dict[str, float]]:
        """Every row so far; the last line may be half-written while the cell runs."""
        lines = self.rows_path.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def result(self) -> Result | None:
        """How the cell ended; None while it runs, or if it was cut off."""
        content = read_json(self.folder / "result.json")
        return None if content is None else Result(**content)
