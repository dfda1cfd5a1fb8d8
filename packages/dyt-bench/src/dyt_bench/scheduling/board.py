"""The progress board: a live table of a suite's runs, or plain lines without a terminal."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dyt_bench.errors import printable
from dyt_bench.plugin.task import Run
from dyt_bench.records.record import Result
from dyt_bench.suite.quantities import in_words

_MARKS = {"waiting": "·", "running": "▸", "finished": "✓", "diverged": "≁", "failed": "✗"}
_STYLES = {"waiting": "dim", "running": "bold", "diverged": "yellow", "failed": "red"}
_WORD_EVERY_S = 60.0  # between two plain lines, where validations are further apart
_LONG_S = 600.0  # without a step, where the process works
_RECKON_EVERY_S = 1.0
_FEW_STEPS = 10  # with fewer, no time left is estimated
_LEAST_NOTE = 10  # characters; shorter ones say nothing
_AROUND = 5  # lines of a screen that are not runs


@dataclass
class _Line:
    """One run's line of the board."""

    run: Run
    metric: str
    state: str = "waiting"
    note: str = ""  # "done before", or why it failed
    step: int = 0
    skipped: int = 0  # steps done before this run was resumed
    loss: float | None = None
    judged: float | None = None  # the domain's metric at the last validation
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0  # of a run that has ended

    @property
    def spent(self) -> float:
        return time.monotonic() - self.started if self.state == "running" else self.seconds

    @property
    def is_running(self) -> bool:
        return self.state == "running"

    @property
    def worked(self) -> int:
        """Steps done in this run."""
        return self.step - self.skipped

    @property
    def rate(self) -> str:
        """Steps a second, start and validations included."""
        if self.worked <= 0 or self.spent <= 0:
            return ""
        return f"{self.worked / self.spent:.3g}/s"


def _bar(line: _Line) -> ProgressBar:
    return ProgressBar(total=line.run.task.steps, completed=line.step, width=10)


def _where(line: _Line) -> Text:
    task = line.run.task
    return Text(printable(f"{task.domain}/{task.model} s{task.seed}"))


def _variant(line: _Line) -> Text:
    return Text(printable(line.run.variant.label))


def _loss(line: _Line) -> str:
    return "" if line.loss is None else f"{line.loss:.4f}"


def _judged(line: _Line) -> str:
    return "" if line.judged is None else f"{line.metric.rpartition('/')[2]} {line.judged:.4f}"


class _Column(NamedTuple):
    """A column of the board; ``width`` 0: it shares what the others leave."""

    name: str
    title: str
    width: int
    from_width: int  # of the terminal
    number: bool
    cell: Callable[[_Line], RenderableType]


_COLUMNS = (
    _Column("mark", "", 1, 0, False, lambda line: _MARKS[line.state]),
    _Column("run", "run", 0, 0, False, _where),
    _Column("variant", "variant", 0, 0, False, _variant),
    _Column("bar", "", 10, 0, False, _bar),
    _Column("judged", "validation", 12, 0, True, _judged),
    _Column("time", "time", 8, 72, True, lambda line: in_words(line.spent) if line.spent else ""),
    _Column("step", "step", 11, 100, True, lambda line: f"{line.step}/{line.run.task.steps}"),
    _Column("rate", "rate", 7, 100, True, lambda line: line.rate if line.is_running else ""),
    _Column(
        "loss",
        "train/loss",
        10,
        120,
        True,
        lambda line: "" if line.loss is None else f"{line.loss:.4f}",
    ),
    _Column("note", "", 0, 0, False, lambda line: Text(printable(line.note))),
)


def _widths(lines: Sequence[_Line], width: int) -> dict[str, int]:
    """Column -> its width; names and notes give way, a mark or a number never does."""
    found = {c.name: c.width for c in _COLUMNS if c.width and c.from_width <= width}
    left = width - sum(found.values()) - len(found)
    run, variant = (
        max((cell(line).cell_len for line in lines), default=0) + 1 for cell in (_where, _variant)
    )
    found["variant"] = min(variant, max(8, left - run), max(8, left * 2 // 5))
    found["run"] = max(1, min(run, left - found["variant"] - 2))
    note = left - found["run"] - found["variant"] - 3
    if note >= _LEAST_NOTE and any(line.note for line in lines):
        found["note"] = note
    return found


@dataclass
class _Pace:
    """What is known of a task group's pace, but for the runs that run."""

    seconds: float = 0.0  # of the runs that have ended
    steps: int = 0  # that they did
    waiting: int = 0  # steps of the runs that have not started


class Board:
    """Shows the runs of a suite. A context manager."""

    def __init__(self, console: Console, runs: Sequence[Run], metrics: dict[str, str]) -> None:
        self.console = console
        self.lines = {run.identity: _Line(run, metrics[run.task.domain]) for run in runs}
        # Kept as runs start and end: a suite may have ten thousand.
        self._running: dict[str, _Line] = {}
        self._paces: dict[str, _Pace] = defaultdict(_Pace)
        for run in runs:
            self._paces[run.task.group].waiting += run.task.steps
        self._begun = 0
        self.doing = ""
        self.slots = 1  # runs that may run at a time
        self._said = time.monotonic()
        self._reckoned, self._time_left = -math.inf, ""
        self._is_live = console.is_terminal and console.is_interactive
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=2, transient=True
        )

    def __enter__(self) -> "Board":
        if self._is_live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_live:
            self._live.stop()

    def start(self, run: Run) -> None:
        line = self.lines[run.identity]
        self._take(line)
        self._running[run.identity] = line
        line.state, line.started = "running", time.monotonic()
        self._say(f"{self._count()} {run.label}: {run.task.steps} steps")

    def resumed(self, run: Run, step: int) -> None:
        """The run resumes after ``step``."""
        line = self.lines[run.identity]
        line.step = line.skipped = step
        self._say(f"  {run.label}: resumes after step {step}")

    def quiet(self, run: Run, seconds: float, *, alive: bool) -> None:
        """Nothing has come of the run for a while; long steps are no news."""
        if alive and seconds < _LONG_S:
            return
        line = self.lines[run.identity]
        line.note = f"no step for {in_words(seconds)}"
        if not alive:
            line.note = f"no sign of life for {in_words(seconds)}: its process is stuck"
        self._say(f"  {run.label}: {line.note}; --run-timeout ends such runs")

    def row(self, run: Run, step: int, metrics: dict[str, float]) -> None:
        """A row of the record: training or validation."""
        line = self.lines[run.identity]
        line.step, line.note = step, ""
        line.loss = metrics.get("train/loss", line.loss)
        if line.metric in metrics:
            line.judged = metrics[line.metric]
            said = f"step {step:>5}  {line.metric} {line.judged:.4g}{self._left()}"
            self._say(f"  {run.label}: {said}")
        elif line.loss is not None and time.monotonic() - self._said > _WORD_EVERY_S:
            said = f"step {step:>5}  train/loss {line.loss:.4g}  {line.rate}{self._left()}"
            self._say(f"  {run.label}: {said}")

    def finish(self, run: Run, result: Result, *, reused: bool) -> None:
        line = self.lines[run.identity]
        self._take(line)
        self._running.pop(run.identity, None)
        line.seconds = result.ended - result.started
        line.state, line.step = result.status, int(result.last.get("step", line.step))
        line.judged = result.last.get(line.metric, line.judged)
        line.note = result.reason
        if reused:
            line.note = result.reason or "done before"
            line.step = line.skipped = run.task.steps
            self._say(f"{self._count()} {run.label}: done before")
            return
        if line.worked > 0:
            pace = self._paces[run.task.group]
            pace.seconds += line.spent
            pace.steps += line.worked
        reason = f": {result.reason}" if result.reason else ""
        self._say(f"  {run.label}: {result.status} in {in_words(line.seconds)}{reason}")

    def note(self, doing: str) -> None:
        """What is happening besides the runs, for the line below the table."""
        self.doing = doing
        if doing:
            self._say(doing)

    def _say(self, text: str) -> None:
        self._said = time.monotonic()
        if not self._is_live:
            self.console.print(printable(text), highlight=False, markup=False, soft_wrap=True)

    def _take(self, line: _Line) -> None:
        """Count a run that waits no longer."""
        if line.state == "waiting":
            self._begun += 1
            self._paces[line.run.task.group].waiting -= line.run.task.steps

    def _count(self) -> str:
        return f"[{self._begun}/{len(self.lines)}]"

    def _left(self) -> str:
        """Time left; once it is known, reckoned once a second: a thousand runs may run."""
        now = time.monotonic()
        if not self._time_left or now - self._reckoned >= _RECKON_EVERY_S:
            self._reckoned, self._time_left = now, self._reckon()
        return self._time_left

    def _reckon(self) -> str:
        """Time left, by the pace of each task group, or of all where its own is not known yet."""
        paces = {group: replace(pace) for group, pace in self._paces.items()}
        for line in self._running.values():
            pace = paces[line.run.task.group]
            pace.waiting += line.run.task.steps - line.step
            if line.worked > 0:
                pace.seconds += line.spent
                pace.steps += line.worked
        steps = sum(pace.steps for pace in paces.values())
        if steps < _FEW_STEPS:
            return ""
        mean = sum(pace.seconds for pace in paces.values()) / steps
        left = sum(
            pace.waiting * (pace.seconds / pace.steps if pace.steps >= _FEW_STEPS else mean)
            for pace in paces.values()
        )
        return f"  about {in_words(left / self.slots)} left"

    def _render(self) -> Group:
        shown = self._shown()
        widths = _widths(shown, self.console.width)
        table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
        columns = [column for column in _COLUMNS if widths.get(column.name)]
        for column in columns:
            table.add_column(
                column.title,
                justify="right" if column.number else "left",
                no_wrap=True,
                width=widths[column.name],
                overflow="ellipsis",
            )
        for line in shown:
            cells = [column.cell(line) for column in columns]
            table.add_row(*cells, style=_STYLES.get(line.state, ""))
        states = [line.state for line in self.lines.values()]
        done = sum(state not in ("waiting", "running") for state in states)
        summary = f"{done} of {len(states)} runs done"
        for state in ("running", "diverged", "failed"):
            if state in states:
                summary += f", {states.count(state)} {state}"
        if len(shown) < len(states):
            summary += f" ({len(states) - len(shown)} not shown)"
        doing = f"  {self.doing}" if self.doing else ""
        return Group(table, Text(f"{summary}{self._left()}{doing}", style="dim"))

    def _shown(self) -> list[_Line]:
        """As many lines as fit the terminal: running first, then failed, then the nearest."""
        lines = list(self.lines.values())
        room = max(1, self.console.height - _AROUND)
        if len(lines) <= room:
            return lines
        now = next((n for n, line in enumerate(lines) if line.state in ("running", "waiting")), 0)
        urgent = {"running": 0, "failed": 1, "diverged": 1}
        ranked = sorted(
            range(len(lines)), key=lambda n: (urgent.get(lines[n].state, 2), abs(n - now))
        )
        return [lines[n] for n in sorted(ranked[:room])]
