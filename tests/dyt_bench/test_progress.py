"""What is printed where there is no terminal, and that the live table draws."""

import io

from rich.console import Console

from dyt_bench.cell import Cell, Norm, Task
from dyt_bench.progress import Board
from dyt_bench.record import Result

TASK = Task(
    domain="vision",
    model="vit",
    dataset="digits",
    steps=20,
    batch_size=1,
    learning_rate=1.0,
    val_every=10,
)
CELLS = [Cell(task=TASK), Cell(task=TASK, norm=Norm(name="dyt"))]
DONE = Result(status="finished", started=0.0, ended=7.0, last={"step": 20.0, "val/acc": 0.5})


def follow(console):
    with Board(console, CELLS, {"vision": "val/acc"}) as board:
        board.start(CELLS[0])
        board.row(CELLS[0], 0, {"val/acc": 0.1})
        board.row(CELLS[0], 10, {"train/loss": 2.0})
        board.row(CELLS[0], 10, {"val/acc": 0.4})
        board.finish(CELLS[0], DONE, reused=False)
        board.finish(CELLS[1], DONE, reused=True)
        return board


def test_plain_lines_tell_the_story():
    out = io.StringIO()
    follow(Console(file=out, width=200))
    lines = out.getvalue().splitlines()
    assert lines[0] == "[1/2] vision/vit/digits/s0 native: 20 steps"
    assert lines[1] == "  step     0  val/acc 0.1"
    assert lines[2].startswith("  step    10  val/acc 0.4  about 0:0")
    assert lines[3:] == ["  finished in 7 s", "[2/2] vision/vit/digits/s0 dyt: done before"]


def test_the_live_table_draws():
    out = io.StringIO()
    board = follow(Console(file=out, width=160, force_terminal=True))
    console = Console(file=io.StringIO(), width=160)
    console.print(board._live.get_renderable())
    drawn = console.file.getvalue()
    assert "2 of 2 cells done" in drawn
    assert "val/acc 0.5000" in drawn
    assert "done before" in drawn
