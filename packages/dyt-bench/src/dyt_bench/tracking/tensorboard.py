"""The mirror ``tensorboard``: event files in the workspace, a folder for each run."""

import re
import shutil
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dyt_bench.errors import UserError
from dyt_bench.plugin.mirrors import CopiedEnd, CopiedRun

# Parameters that the page HPARAMS compares runs by; the others are in the text.
_COMPARED = (
    "variant",
    "domain",
    "model",
    "dataset",
    "seed",
    "steps",
    "batch_size",
    "learning_rate",
)


class TensorBoard:
    """Writes TensorBoard's event files; no TensorFlow is needed.

    Curves have the record's names and times. What is measured once is a point at the last step, and
    the page HPARAMS compares runs by it.

    Raises:
        UserError: tensorboard is not installed.
    """

    def __init__(self, folder: Path, suite: str) -> None:
        if find_spec("tensorboard") is None:
            raise UserError(
                "the mirror tensorboard needs TensorBoard: pip install 'dyt-bench[tensorboard]'"
            )
        self.folder = folder / suite
        self.place = f"tensorboard --logdir {self.folder}"

    def begin(self, run: CopiedRun) -> "_Events":
        folder = self.folder / f"{_plain(run.label)}-{run.key}"
        shutil.rmtree(folder, ignore_errors=True)
        return _Events(folder, run)


class _Events:
    """One run's file."""

    def __init__(self, folder: Path, run: CopiedRun) -> None:
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder.mkdir(parents=True)
        self.writer, self.step = EventFileWriter(str(folder)), 0
        known = {"variant": run.variant, **run.parameters}
        compared = {name: known[name] for name in _COMPARED if name in known}
        self._add(hparams_pb(compared, trial_id=run.key, start_time_secs=run.started), run.started)
        self._add(_text("run", _table({**run.parameters, **run.tags})), run.started)

    def log(self, rows: Sequence[Mapping[str, float]]) -> None:
        for row in rows:
            self.step = int(row["step"])
            values = {k: v for k, v in row.items() if k not in ("step", "time")}
            self._add(_scalars(values), row["time"])
        self.writer.flush()

    def finish(self, end: CopiedEnd) -> None:
        best = {f"best/{name}": value for name, value in end.best.items() if name != "step"}
        self._add(_scalars({**end.measured, **best}), end.ended)
        said = f"{end.status}: {end.reason}" if end.reason else end.status
        self._add(_text("end", said), end.ended)
        self.writer.close()

    def _add(self, summary: Any, seconds: float) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.writer.add_event(Event(summary=summary, wall_time=seconds, step=self.step))


def _scalars(values: Mapping[str, float]) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=k, simple_value=v) for k, v in values.items()])


def _text(tag: str, text: str) -> Any:
    """Markdown, which TensorBoard shows without HTML of its own."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.plugins.text.metadata import create_summary_metadata

    tensor = TensorProto(
        dtype=DT_STRING,
        string_val=[text.encode()],
        tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
    )
    metadata = create_summary_metadata(display_name=tag, description="")
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])


def _table(values: Mapping[str, object]) -> str:
    from dyt_bench.verdicts.words import Row, markdown_table

    rows: list[Row] = [{"name": name, "value": str(value)} for name, value in values.items()]
    return markdown_table(rows)


def _plain(label: str) -> str:
    """The label as a part of a path that every file system takes."""
    return re.sub(r"[^A-Za-z0-9.=_-]+", "-", label).strip("-.")
