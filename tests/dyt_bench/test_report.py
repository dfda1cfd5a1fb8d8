"""The report from records made by hand: the numbers, the words, the files."""

import pandas as pd
import pytest

from dyt_bench.cell import Cell, Norm, Task
from dyt_bench.errors import UserError
from dyt_bench.record import Record, Result
from dyt_bench.registry import discover
from dyt_bench.report import write_report
from dyt_bench.report.page import markdown_table
from dyt_bench.report.tables import leaderboard, load_runs

ENVIRONMENT = {
    "cpu": "abacus",
    "cores": "2",
    "memory_gib": "8",
    "python": "3.11",
    "torch": "2",
    "commit": "abc",
}
RATIOS = {
    "time/step_ratio": 1.2,
    "time/step_ratio_q1": 1.15,
    "time/step_ratio_q3": 1.25,
    "time/aa_ratio": 1.0,
    "time/aa_ratio_q1": 0.97,
    "time/aa_ratio_q3": 1.04,
}


@pytest.fixture
def record(tmp_path):
    """Make the record of a cell of vision/vit with the given accuracies, first to last."""

    def made(norm, seed, accuracies, status="finished"):
        task = Task(
            domain="vision",
            model="vit",
            dataset="digits",
            seed=seed,
            steps=10 * (len(accuracies) - 1),
            batch_size=4,
            learning_rate=1e-3,
            val_every=10,
        )
        cell = Cell(task=task, norm=Norm(name=norm))
        record = Record(tmp_path / "cells" / cell.identity)
        record.begin(cell, ENVIRONMENT)
        rows = [{"step": 10 * i, "val/acc": value} for i, value in enumerate(accuracies)]
        for row in rows:
            record.append(row["step"], {"val/acc": row["val/acc"], "train/loss": 1.0})
        record.finish(
            Result(
                status=status,
                reason="" if status == "finished" else "the loss became nan at step 3",
                started=0.0,
                ended=60.0,
                first=rows[0],
                best=max(rows, key=lambda row: row["val/acc"]),
                last=rows[-1],
                summary={"model/parameters": 1000, **(RATIOS if norm != "native" else {})},
                alpha={} if norm == "native" else {"norm": 0.4},
                saturation={} if norm == "native" else {"norm": 0.1},
            )
        )
        return record

    return made


def test_leaderboard_pairs_by_seed(record):
    records = [record("native", seed, [0.1, 0.90 + seed / 100]) for seed in range(3)]
    records += [record("dyt", seed, [0.1, 0.93 + seed / 100]) for seed in range(3)]
    (standing,) = leaderboard(load_runs(records), discover())
    assert standing.comparison.seeds == 3
    assert standing.comparison.gain == pytest.approx(0.03)
    assert standing.comparison.verdict == "better"
    assert standing.relative_gain == pytest.approx(0.03 / 0.91)
    assert standing.speed == "slower"


def test_best_and_last_are_both_told(record):
    records = [record("native", 0, [0.1, 0.95, 0.90]), record("dyt", 0, [0.1, 0.80, 0.92])]
    (standing,) = leaderboard(load_runs(records), discover())
    assert (standing.native, standing.native_best) == (0.90, 0.95)
    assert (standing.arm, standing.arm_best) == (0.92, 0.92)


def test_diverged_runs_are_shown_but_not_judged(record, tmp_path):
    records = [record("native", 0, [0.1, 0.9]), record("dyt", 0, [0.1, 0.2], status="diverged")]
    assert leaderboard(load_runs(records), discover()) == []
    write_report("t", records, discover(), tmp_path / "out")
    assert "diverged: the loss became nan at step 3" in (tmp_path / "out/README.md").read_text()


def test_the_tables_hold_every_run_and_point(record, tmp_path):
    records = [record("native", 0, [0.1, 0.9]), record("dyt", 0, [0.1, 0.8])]
    write_report("A title", records, discover(), tmp_path)
    runs = pd.read_csv(tmp_path / "runs.csv")
    assert runs["norm"].tolist() == ["native", "dyt"]
    assert runs["last/val/acc"].tolist() == [0.9, 0.8]
    rows = pd.read_csv(tmp_path / "rows.csv")
    (dyt_run,) = runs["identity"][runs["norm"] == "dyt"]
    points = rows[(rows["metric"] == "val/acc") & (rows["identity"] == dyt_run)]
    assert points[["step", "value"]].to_numpy().tolist() == [[0, 0.1], [10, 0.8]]
    page = (tmp_path / "README.md").read_text()
    assert page.startswith("# A title\n")
    assert "| vision/vit |" in page
    assert "undetermined (n=1)" in page
    assert "1.20 [1.15, 1.25]" in page


def test_nothing_to_report_is_said(tmp_path):
    with pytest.raises(UserError, match="nothing to report"):
        write_report("t", [], discover(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_markdown_cells_are_escaped():
    assert markdown_table([{"a": "x|y"}]) == "| a |\n| --- |\n| x\\|y |"
