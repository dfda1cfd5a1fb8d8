"""What a person sees while a suite runs: a live table, or plain lines without a terminal."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dyt_bench.cell import Cell
from dyt_bench.record import Result

_MARKS = {"waiting": "·", "running": "▸", "finished": "✓", "diverged": "≁", "failed": "✗"}
_STYLES = {"waiting": "dim", "running": "bold", "diverged": "yellow", "failed": "red"}


@dataclass
class _Line:
    """One cell's line of the board."""

    cell: Cell
    metric: str
    state: str = "waiting"
    note: str = ""  # "from an earlier run", or why it failed
    step: int = 0
    loss: float | None = None
    judged: float | None = None  # the domain's metric at the last validation
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0


class Board:
    """Follows the cells of a suite. Use as a context manager around the run."""

    def __init__(self, console: Console, cells: Sequence[Cell], metrics: dict[str, str]) -> None:
        self.console = console
        self.lines = {cell.identity: _Line(cell, metrics[cell.task.domain]) for cell in cells}
        self.doing = ""
        self._worked_s, self._worked_steps = 0.0, 0
        self._is_live = console.is_terminal
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

    def start(self, cell: Cell) -> None:
        line = self.lines[cell.identity]
        line.state, line.started = "running", time.monotonic()
        self._say(f"{self._count()} {cell.label}: {cell.task.steps} steps")

    def row(self, cell: Cell, step: int, metrics: dict[str, float]) -> None:
        """A row of the record: training or validation."""
        line = self.lines[cell.identity]
        line.step = step
        line.loss = metrics.get("train/loss", line.loss)
        if line.metric in metrics:
            line.judged = metrics[line.metric]
            self._say(f"  step {step:>5}  {line.metric} {line.judged:.4g}{self._eta()}")

    def finish(self, cell: Cell, result: Result, *, reused: bool) -> None:
        line = self.lines[cell.identity]
        line.state, line.step = result.status, int(result.last.get("step", line.step))
        line.judged = result.last.get(line.metric, line.judged)
        line.seconds = result.ended - result.started
        line.note = result.reason or ("done before" if reused else "")
        if reused:
            line.step = cell.task.steps
            self._say(f"{self._count()} {cell.label}: done before")
            return
        self._worked_s += time.monotonic() - line.started
        self._worked_steps += cell.task.steps
        reason = f": {result.reason}" if result.reason else ""
        self._say(f"  {result.status} in {line.seconds:.0f} s{reason}")

    def note(self, doing: str) -> None:
        """What goes on besides the cells, for the line below the table."""
        self.doing = doing
        if doing:
            self._say(doing)

    def _say(self, text: str) -> None:
        if not self._is_live:
            self.console.print(text, highlight=False, markup=False)

    def _count(self) -> str:
        begun = sum(line.state != "waiting" for line in self.lines.values())
        return f"[{begun}/{len(self.lines)}]"

    def _eta(self) -> str:
        """Time left, from the steps this run has done; nothing before there are any."""
        running = [line for line in self.lines.values() if line.state == "running"]
        done = self._worked_steps + sum(line.step for line in running)
        spent = self._worked_s + sum(time.monotonic() - line.started for line in running)
        left = sum(
            line.cell.task.steps - line.step
            for line in self.lines.values()
            if line.state in ("waiting", "running")
        )
        if done < 10:
            return ""
        minutes, seconds = divmod(round(left * spent / done), 60)
        return f"  about {minutes}:{seconds:02d} left"

    def _render(self) -> Group:
        table = Table(box=None, padding=(0, 1), header_style="dim")
        for title in ("", "cell", "norm"):
            table.add_column(title)
        table.add_column("", width=12)
        for title in ("step", "train/loss", "validation", "time"):
            table.add_column(title, justify="right")
        table.add_column("")
        for line in self.lines.values():
            running = line.state == "running"
            seconds = time.monotonic() - line.started if running else line.seconds
            task = line.cell.task
            table.add_row(
                _MARKS[line.state],
                f"{task.domain}/{task.model} s{task.seed}",
                line.cell.norm.label,
                ProgressBar(total=task.steps, completed=line.step, width=12),
                f"{line.step}/{task.steps}",
                "" if line.loss is None else f"{line.loss:.4f}",
                "" if line.judged is None else f"{line.metric} {line.judged:.4f}",
                f"{seconds:.0f} s" if seconds else "",
                Text(line.note, overflow="ellipsis", no_wrap=True),
                style=_STYLES.get(line.state, ""),
            )
        states = [line.state for line in self.lines.values()]
        done = sum(state not in ("waiting", "running") for state in states)
        failed = sum(state == "failed" for state in states)
        summary = f"{done} of {len(states)} cells done"
        summary += f", {failed} failed" if failed else ""
        doing = f"  {self.doing}" if self.doing else ""
        return Group(table, Text(f"{summary}{self._eta()}{doing}", style="dim"))
