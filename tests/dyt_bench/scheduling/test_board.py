"""What is printed where there is no terminal, and that the live table draws."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from dyt_bench.plugin.task import Run, Task, Variant
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
RUNS = [Run(task=TASK), Run(task=TASK, variant=Variant(name="dyt"))]
DONE = Result(status="finished", started=0.0, ended=7.0, last={"step": 20.0, "val/acc": 0.5})


def follow(console):
    with Board(console, RUNS, {"vision": "val/acc"}) as board:
        board.start(RUNS[0])
        board.row(RUNS[0], 0, {"val/acc": 0.1})
        board.row(RUNS[0], 10, {"train/loss": 2.0})
        board.row(RUNS[0], 10, {"val/acc": 0.4})
        board.finish(RUNS[0], DONE, reused=False)
        board.finish(RUNS[1], DONE, reused=True)
        return board


def test_plain_lines_tell_the_story():
    out = io.StringIO()
    follow(Console(file=out, width=200))
    lines = out.getvalue().splitlines()
    assert lines[0] == "[1/2] vision/vit/digits/s0 native: 20 steps"
    assert lines[1] == "  vision/vit/digits/s0 native: step     0  val/acc 0.1"
    assert lines[2].endswith("native: step    10  val/acc 0.4  about 0 s left")
    assert lines[3] == "  vision/vit/digits/s0 native: finished in 7 s"
    assert lines[4:] == ["[2/2] vision/vit/digits/s0 dyt: done before"]


def test_without_a_terminal_a_long_way_between_validations_is_not_silent(monkeypatch):
    out, clock = io.StringIO(), 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock)
    with Board(Console(file=out, width=200), RUNS, {"vision": "val/acc"}) as board:
        board.start(RUNS[0])
        board.resumed(RUNS[0], 2)
        for step in range(3, 15):
            clock += 10.0
            board.row(RUNS[0], step, {"train/loss": 1.5})
    lines = out.getvalue().splitlines()
    assert lines[1] == "  vision/vit/digits/s0 native: resumes after step 2"
    assert lines[2:] == ["  vision/vit/digits/s0 native: step     9  train/loss 1.5  0.1/s"]


def test_the_live_table_draws():
    out = io.StringIO()
    board = follow(Console(file=out, width=160, force_terminal=True))
    console = Console(file=io.StringIO(), width=160)
    console.print(board._live.get_renderable())
    drawn = console.file.getvalue()
    assert "2 of 2 runs done" in drawn
    assert "not shown" not in drawn
    assert "acc 0.5000" in drawn
    assert "done before" in drawn


@pytest.mark.parametrize("width", [60, 80, 100, 130])
def test_whatever_the_width_marks_and_numbers_have_room(width):
    long = replace(TASK, domain="diffusion", model="dit-with-a-long-name", seed=12)
    runs = [*RUNS, Run(task=long, variant=Variant(name="dyt", recipe="calibrated"))]
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    board = Board(console, runs, {"vision": "val/acc", "diffusion": "val/loss"})
    board.finish(runs[0], replace(DONE, status="failed", reason="it broke " * 9), reused=False)
    board.start(runs[2])
    board.row(runs[2], 10, {"val/loss": 0.1234, "train/loss": 2.0})
    board.row(runs[2], 11, {"train/loss": 2.0})
    plain = Console(file=io.StringIO(), width=width)
    plain.print(board._render())
    lines = plain.file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    assert lines[1].startswith("✗ ")
    assert lines[3].startswith("▸ ")
    assert "loss 0.1234" in lines[3]
    assert "acc 0.5000" in lines[1]
    assert ("11/20" in lines[3]) == (width >= 100)


def test_a_suite_longer_than_the_screen_shows_what_matters():
    runs = [Run(task=replace(TASK, seed=seed)) for seed in range(100)]
    console = Console(file=io.StringIO(), width=160, height=24, force_terminal=True)
    board = Board(console, runs, {"vision": "val/acc"})
    failed = replace(DONE, status="failed", reason="why", last={})
    for run in runs[:60]:
        board.finish(run, failed if run is runs[3] else DONE, reused=False)
    board.start(runs[60])
    board.row(runs[60], 10, {"train/loss": 2.0})
    plain = Console(file=io.StringIO(), width=160)
    plain.print(board._render())
    drawn = plain.file.getvalue()
    assert len(drawn.splitlines()) <= 24
    for seed in (3, 59, 60, 61):
        assert f"vision/vit s{seed} " in drawn
    assert "60 of 100 runs done, 1 running, 1 failed (81 not shown)" in drawn
