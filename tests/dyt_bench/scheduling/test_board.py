"""What is printed where there is no terminal, and that the live table draws."""

import io
from dataclasses import replace

from rich.console import Console

from dyt_bench.plugin.task import Cell, Norm, Task
from dyt_bench.records.record import Result
from dyt_bench.scheduling import board as progress
from dyt_bench.scheduling.board import Board

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
    assert lines[2].startswith("  step    10  val/acc 0.4  about 0 s left")
    assert lines[3:] == ["  finished in 7 s", "[2/2] vision/vit/digits/s0 dyt: done before"]


def test_without_a_terminal_a_long_way_between_validations_is_not_silent(monkeypatch):
    out, clock = io.StringIO(), 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock)
    with Board(Console(file=out, width=200), CELLS, {"vision": "val/acc"}) as board:
        board.start(CELLS[0])
        board.resumed(CELLS[0], 2)
        for step in range(3, 15):
            clock += 10.0
            board.row(CELLS[0], step, {"train/loss": 1.5})
    lines = out.getvalue().splitlines()
    assert lines[1] == "  goes on after step 2"
    assert lines[2:] == ["  step     9  train/loss 1.5  0.1/s"]


def test_the_live_table_draws():
    out = io.StringIO()
    board = follow(Console(file=out, width=160, force_terminal=True))
    console = Console(file=io.StringIO(), width=160)
    console.print(board._live.get_renderable())
    drawn = console.file.getvalue()
    assert "2 of 2 cells done" in drawn
    assert "not shown" not in drawn
    assert "val/acc 0.5000" in drawn
    assert "done before" in drawn


def test_a_suite_longer_than_the_screen_shows_what_matters():
    cells = [Cell(task=replace(TASK, seed=seed)) for seed in range(100)]
    console = Console(file=io.StringIO(), width=160, height=24, force_terminal=True)
    board = Board(console, cells, {"vision": "val/acc"})
    failed = replace(DONE, status="failed", reason="why", last={})
    for cell in cells[:60]:
        board.finish(cell, failed if cell is cells[3] else DONE, reused=False)
    board.start(cells[60])
    board.row(cells[60], 10, {"train/loss": 2.0})
    plain = Console(file=io.StringIO(), width=160)
    plain.print(board._render())
    drawn = plain.file.getvalue()
    assert len(drawn.splitlines()) <= 24
    for seed in (3, 59, 60, 61):
        assert f"vision/vit s{seed} " in drawn
    assert "60 of 100 cells done, 1 running, 1 failed (81 not shown)" in drawn
