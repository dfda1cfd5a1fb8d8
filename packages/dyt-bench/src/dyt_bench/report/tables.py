"""Records as tables: one row a run, one row a point, and the leaderboard."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dyt_bench.cell import NATIVE
from dyt_bench.domain import Metric
from dyt_bench.record import Record, Result
from dyt_bench.registry import Discovery
from dyt_bench.statistics import Comparison, Speed, compare, speed


@dataclass(frozen=True)
class Run:
    """A record that has ended."""

    about: dict[str, Any]
    result: Result
    rows: list[dict[str, float]]

    @property
    def parameters(self) -> dict[str, Any]:
        parameters: dict[str, Any] = self.about["parameters"]
        return parameters

    @property
    def norm(self) -> str:
        return str(self.parameters["norm"])

    @property
    def subject(self) -> tuple[str, str, str]:
        """What is compared across norms and seeds: domain, model, data set."""
        p = self.parameters
        return str(p["domain"]), str(p["model"]), str(p["dataset"])


@dataclass(frozen=True)
class Standing:
    """One line of the leaderboard: a norm in place of the native one, for one subject."""

    subject: tuple[str, str, str]
    norm: str
    metric: Metric
    native: float  # mean over seeds at the end of the budget
    arm: float
    comparison: Comparison
    native_best: float  # mean over seeds at each run's own best validation
    arm_best: float
    time: dict[str, float]  # ratios of `step_time_ratios`, of the first seed; empty if not timed
    speed: Speed | None

    @property
    def name(self) -> str:
        return f"{self.subject[0]}/{self.subject[1]}"

    @property
    def relative_gain(self) -> float:
        """The gain as a share of the native value; positive where the arm is better."""
        return self.comparison.gain / abs(self.native)


def load_runs(records: Sequence[Record]) -> list[Run]:
    """The records that have ended, in the order given."""
    runs = []
    for record in records:
        result = record.result()
        if result is not None:
            runs.append(Run(record.about(), result, record.rows()))
    return runs


def leaderboard(runs: Sequence[Run], found: Discovery) -> list[Standing]:
    """Every norm against the native one, paired by seed; unfinished runs are left out."""
    done = [run for run in runs if run.result.status == "finished"]
    standings = []
    for subject in dict.fromkeys(run.subject for run in done):
        by_norm: dict[str, dict[int, Run]] = {}
        for run in done:
            if run.subject == subject:
                by_norm.setdefault(run.norm, {})[run.parameters["seed"]] = run
        native = by_norm.pop(NATIVE, {})
        metric = found.domain(subject[0]).metric
        for norm, arm in by_norm.items():
            seeds = sorted(native.keys() & arm.keys())
            if seeds:
                pairs = [(native[seed], arm[seed]) for seed in seeds]
                standings.append(_standing(subject, norm, metric, pairs))
    return standings


def runs_table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run: parameters, outcome, first, best and last validation, and the summary."""
    return pd.DataFrame(
        {
            **run.parameters,
            "identity": run.about["identity"],
            "status": run.result.status,
            **{f"digest/{k}": v for k, v in run.about["digests"].items()},
            **{f"digest/{k}": v for k, v in run.result.facts.items() if k in _DIGESTS},
            **{f"first/{k}": v for k, v in run.result.first.items()},
            **{f"best/{k}": v for k, v in run.result.best.items()},
            **{f"last/{k}": v for k, v in run.result.last.items()},
            **run.result.summary,
        }
        for run in runs
    )


def rows_table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a point: the run's identity (which `runs_table` has as well), step, metric, value."""
    points = [
        (run.about["identity"], int(row["step"]), metric, value)
        for run in runs
        for row in run.rows
        for metric, value in row.items()
        if metric not in ("step", "time")
    ]
    return pd.DataFrame(points, columns=["identity", "step", "metric", "value"])


_DIGESTS = ("weights", "batches")


def _standing(
    subject: tuple[str, str, str], norm: str, metric: Metric, pairs: list[tuple[Run, Run]]
) -> Standing:
    native = [a.result.last[metric.name] for a, _ in pairs]
    arm = [b.result.last[metric.name] for _, b in pairs]
    time = {k: v for k, v in pairs[0][1].result.summary.items() if "ratio" in k}
    return Standing(
        subject=subject,
        norm=norm,
        metric=metric,
        native=_mean(native),
        arm=_mean(arm),
        comparison=compare(native, arm, metric),
        native_best=_mean([a.result.best[metric.name] for a, _ in pairs]),
        arm_best=_mean([b.result.best[metric.name] for _, b in pairs]),
        time=time,
        speed=speed(time) if time else None,
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
