"""Summary runs in MLflow: one for each task group and variant, with the mean over its seeds.

Metrics are named ``section/group metric``, and each group has its own. Charts over all summaries,
grouped by variant, therefore never average one model with another.
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from dyt_bench.errors import printable
from dyt_bench.plugin.domain import Metric
from dyt_bench.plugin.task import Run, digest
from dyt_bench.records.record import Record
from dyt_bench.records.workspace import SuiteRuns, Workspace
from dyt_bench.tracking.mirror import by_layer, key_there, log_start
from dyt_bench.tracking.parts import Group, Part
from dyt_bench.tracking.store import (
    GROUP_TAG,
    KIND_TAG,
    MACHINE_TAG,
    MEMBER_TAG,
    NOTE_TAG,
    PLACE_TAG,
    VARIANT_TAG,
    WORKSPACE_TAG,
    Known,
    Store,
    points,
)
from dyt_bench.tracking.view import publish
from dyt_bench.verdicts.runs import (
    BASELINE,
    EndedRun,
    MetricOf,
    TaskGroup,
    evidence_of,
    group_names,
    load_runs,
)
from dyt_bench.verdicts.standings import Standing, leaderboard
from dyt_bench.verdicts.words import compact_row, escaped, markdown_table

# Draws a group's figures into a folder: (name, metric, judged runs, standings, folder).
DrawGroup = Callable[[str, Metric, Sequence[EndedRun], Sequence[Standing], Path], None]

RESULT, CURVES, COST, DIAGNOSTICS = "result", "curves", "cost", "diagnostics"
_SUMMARY_TAG = "dyt_bench.summary_of"
_DRAWN_TAG = "dyt_bench.figures"  # set once the figures are sent
_PATIENCE = 50  # a preview waits this many times as long as it took: 2 % of a core at most
# Name in a run's summary -> name in a chart.
_COSTS = {
    "time/step_ms_median": "step time ms",
    "memory/peak_mib": "peak memory MiB",
    "time/units_per_s": "throughput units per s",
}


@dataclass(frozen=True)
class Summary:
    """What one summary run consists of."""

    key: str
    group: TaskGroup
    of: str  # group and variant: a workspace has at most one summary of each
    name: str
    params: dict[str, Any]
    tags: dict[str, str]
    rows: list[dict[str, float]]
    ended: float  # seconds since the epoch


class _SuiteItem:
    """The summaries and views of one suite, to be sent."""

    def __init__(
        self,
        listed: SuiteRuns,
        records: Sequence[Record],
        workspace: Workspace,
        metric_of: MetricOf,
    ) -> None:
        self.listed, self.records = listed, records
        self.workspace, self.origin = workspace, workspace.origin
        self.metric_of = metric_of

    def _judge(self) -> tuple[list[EndedRun], list[Standing]]:
        runs = load_runs(self.records, self.metric_of)
        timings = self.workspace.timings(self.records)
        compiled = self.workspace.timings(self.records, compile=True)
        evidence = evidence_of(self.listed, runs, timings, compiled)
        return runs, leaderboard(evidence, self.metric_of)

    def _summaries(self, runs: Sequence[EndedRun], standings: Sequence[Standing]) -> list[Summary]:
        """The suite's summaries, told apart from those of other workspaces."""
        origin = self.origin
        return [
            replace(
                summary,
                key=f"{summary.key}@{origin.workspace}",
                tags={
                    **summary.tags,
                    WORKSPACE_TAG: origin.workspace,
                    MACHINE_TAG: origin.label,
                    PLACE_TAG: f"{summary.tags[VARIANT_TAG]}, {origin.label}",
                },
            )
            for summary in summarize(runs, standings, self.metric_of)
        ]

    def _fill(self, store: Store, summaries: Sequence[Summary]) -> None:
        """Send every summary, without figures; delete earlier ones, which had fewer seeds."""
        for summary in summaries:
            known = store.runs.get(summary.key)
            if known is None or known.status != "FINISHED":
                self._create(store, summary)
            for key, other in list(store.runs.items()):
                is_of_it = other.tags.get(_SUMMARY_TAG) == summary.of
                is_ours = other.tags.get(WORKSPACE_TAG) == self.origin.workspace
                if is_of_it and is_ours and key != summary.key:
                    store.delete(key)

    def _create(self, store: Store, summary: Summary) -> None:
        store.enter(summary.key, name=summary.name, started=summary.ended, tags=summary.tags)
        known = store.runs[summary.key]
        log_start(store, known.run_id, summary.params, summary.tags["digest.data"])
        store.log_points(known.run_id, [point for row in summary.rows for point in points(row)])
        store.terminate(known, "FINISHED", summary.ended)

    def _assign(self, store: Store, groups: Mapping[TaskGroup, Group]) -> None:
        """Tag each run with its group; runs that left the suite leave its charts as well."""
        begun = {
            key_there(store, about, self.origin): about
            for record in self.records
            if (about := record.about())
        }
        member = f"{MEMBER_TAG}{self.origin.workspace}"
        for key, known in store.runs.items():
            if key in begun:
                own = groups.get(TaskGroup.of(begun[key]["parameters"]))
                if own is not None and member in known.tags:
                    store.set_tags(known, {GROUP_TAG: own.name})
            elif known.tags.get(member) == "run":
                _leave(store, known, member)

    def _publish(
        self, store: Store, groups: Iterable[Group], standings: Sequence[Standing]
    ) -> None:
        rows = [compact_row(standing) for standing in standings]
        origin = self.origin
        title = printable(self.listed.title)
        publish(store, Part(origin.workspace, origin.machine, title, list(groups), rows))


def _leave(store: Store, known: Known, member: str) -> None:
    """Mark a run as none of its workspace's suite; others that have it keep it in their charts."""
    others = {key: what for key, what in known.tags.items() if key.startswith(MEMBER_TAG)}
    others[member] = "earlier run"
    kind = "run" if "run" in others.values() else "earlier run"
    store.set_tags(known, {member: "earlier run", KIND_TAG: kind})


class Summaries(_SuiteItem):
    """All summaries of a suite whose runs have ended, with figures, and the views that show them.

    Args:
        draw: draws the figures of a group.
    """

    def __init__(
        self,
        listed: SuiteRuns,
        records: Sequence[Record],
        workspace: Workspace,
        metric_of: MetricOf,
        draw: DrawGroup,
    ) -> None:
        super().__init__(listed, records, workspace, metric_of)
        self.draw = draw

    def send(self, store: Store, *, last: bool) -> bool:
        """Create the missing summaries, delete those they replace, publish the views."""
        runs, standings = self._judge()
        summaries = self._summaries(runs, standings)
        self._fill(store, summaries)
        with tempfile.TemporaryDirectory() as folder:
            drawn: dict[TaskGroup, Path] = {}  # group -> folder with its figures
            for summary in summaries:
                known = store.runs[summary.key]
                if _DRAWN_TAG not in known.tags:
                    if summary.group not in drawn:
                        drawn[summary.group] = Path(folder) / str(len(drawn))
                        self._draw(summary.group, runs, standings, drawn[summary.group])
                    figures = str(drawn[summary.group])
                    store.client.log_artifacts(known.run_id, figures, "figures")
                    store.set_tags(known, {_DRAWN_TAG: "yes"})
        judged = charted((run.group for run in runs if run.is_judged), self.metric_of)
        self._assign(store, judged)
        if judged:
            self._publish(store, judged.values(), standings)
        return True

    def _draw(
        self,
        group: TaskGroup,
        runs: Sequence[EndedRun],
        standings: Sequence[Standing],
        folder: Path,
    ) -> None:
        folder.mkdir()
        name = group_names(run.group for run in runs)[group]
        judged = [run for run in runs if run.group == group and run.is_judged]
        compared = [standing for standing in standings if standing.group == group]
        self.draw(name, self.metric_of(group.domain), judged, compared, folder)


class Preview(_SuiteItem):
    """Views and summaries while a suite runs: published at its start, filled as its runs end.

    Args:
        runs: what the suite starts with; seeds that are added later do not change its views.
    """

    def __init__(
        self,
        name: str,
        title: str,
        runs: Sequence[Run],
        workspace: Workspace,
        metric_of: MetricOf,
    ) -> None:
        super().__init__(SuiteRuns(title, []), [], workspace, metric_of)
        self.name = name
        self.groups = charted((TaskGroup.of(run.parameters()) for run in runs), metric_of)
        self._ended = -1  # runs that had ended at the last call
        self._due = 0.0

    def send(self, store: Store, *, last: bool) -> bool:
        """Bring views and summaries up to the runs that have ended."""
        if last:  # `Summaries` does it at the end
            return True
        start = time.monotonic()
        if start < self._due:
            return False
        self.listed = self.workspace.suite(self.name) or self.listed
        self.records = self.workspace.records_of(self.listed)
        ended = sum(record.result_path.exists() for record in self.records)
        self._assign(store, self.groups)
        if ended != self._ended:
            runs, standings = self._judge()
            self._fill(store, self._summaries(runs, standings))
            self._publish(store, self.groups.values(), standings)
        self._ended = ended
        self._due = time.monotonic() + _PATIENCE * (time.monotonic() - start)
        return False


def charted(groups: Iterable[TaskGroup], metric_of: MetricOf) -> dict[TaskGroup, Group]:
    """Group -> the names of its charts."""
    names = group_names(groups)
    models = [group.model for group in names]
    return {
        group: Group(
            name=name,
            short=group.model if models.count(group.model) == 1 else name,
            metric=metric_of(group.domain).name,
        )
        for group, name in names.items()
    }


def summarize(
    runs: Sequence[EndedRun], standings: Sequence[Standing], metric_of: MetricOf
) -> list[Summary]:
    """One summary for each group and variant that has a judged run, in the order of the runs."""
    summaries = []
    judged = charted((run.group for run in runs if run.is_judged), metric_of)
    for group, charts in judged.items():
        own = [run for run in runs if run.group == group and run.is_judged]
        timed = any(s.group == group and s.speed is not None for s in standings)
        for variant in dict.fromkeys(run.variant for run in own):
            standing = [s for s in standings if (s.group, s.variant) == (group, variant)]
            seeds = [run for run in own if run.variant == variant]
            judgement = standing[0] if standing else None
            summaries.append(
                _summarize(charts, metric_of(group.domain), variant, seeds, judgement, timed=timed)
            )
    return summaries


def _summarize(
    charts: Group,
    judged_by: Metric,
    variant: str,
    runs: Sequence[EndedRun],
    standing: Standing | None,
    *,
    timed: bool,
) -> Summary:
    metric = judged_by.name
    ended = max(run.result.ended for run in runs)
    values = [run.result.last[metric] for run in runs]
    ends = {
        charts.key(RESULT, metric): fmean(values),
        charts.key(RESULT, f"{metric} at best"): fmean(r.result.best[metric] for r in runs),
        "summary/mean": fmean(values),
        "summary/least": min(values),
        "summary/most": max(values),
        "summary/seeds": len(values),
    }
    for name, title in _COSTS.items():
        measured = [r.costs[name] for r in runs if name in r.costs]
        if measured:
            ends[charts.key(COST, title)] = fmean(measured)
    verdict = "baseline" if variant == BASELINE else "not compared"
    if standing is not None:
        verdict = standing.comparison.verdict
        ends["summary/gain"] = standing.comparison.gain
        if standing.comparison.interval is not None:
            ends["summary/gain_low"], ends["summary/gain_high"] = standing.comparison.interval
    # The baseline has no standing; its ratio to itself is 1.
    speed = standing.speed if standing is not None else None
    if speed is not None or (timed and variant == BASELINE):
        ratio = 1.0 if speed is None else speed.ratio.middle
        ends[charts.key(COST, "step time ratio")] = ends["summary/step_ratio"] = ratio
    curves = {
        charts.key(CURVES, metric): _mean_curve(runs, metric),
        charts.key(CURVES, "train/loss"): _mean_curve(runs, "train/loss"),
        charts.key(DIAGNOSTICS, "alpha by layer"): by_layer([r.result.alpha for r in runs]),
        charts.key(DIAGNOSTICS, "saturated share by layer"): by_layer(
            [r.result.saturation for r in runs]
        ),
    }
    rows: list[dict[str, float]] = [{"step": 0, "time": ended, **ends}]
    rows += [
        {"step": step, "time": ended, name: value}
        for name, curve in curves.items()
        for step, value in curve.items()
    ]
    parameters = runs[0].parameters
    shared = ("domain", "model", "dataset", "steps", "batch_size", "learning_rate")
    numbers = sorted(int(run.parameters["seed"]) for run in runs)
    about = [(run.about["identity"], run.about["started"], run.result.ended) for run in runs]
    of = f"{charts.name} {variant}"
    tags = {
        KIND_TAG: "summary",
        _SUMMARY_TAG: of,
        GROUP_TAG: charts.name,
        VARIANT_TAG: variant,
        "verdict": verdict,
        "seeds": str(len(runs)),
        "digest.data": runs[0].about["digests"]["data"],
        "mlflow.source.name": "dyt-bench",
        NOTE_TAG: _note(charts.name, judged_by, variant, runs, standing),
    }
    return Summary(
        key=f"summary {digest(of, about, ends)}",
        group=runs[0].group,
        of=of,
        name=of,
        params={
            **{name: parameters[name] for name in shared},
            "seeds": ", ".join(map(str, numbers)),
        },
        tags=tags,
        rows=rows,
        ended=ended,
    )


def _mean_curve(runs: Sequence[EndedRun], metric: str) -> dict[int, float]:
    """Step -> mean over the runs that logged the metric there."""
    values: dict[int, list[float]] = {}
    for run in runs:
        for row in run.rows:
            if metric in row:
                values.setdefault(int(row["step"]), []).append(row[metric])
    return {step: fmean(found) for step, found in sorted(values.items())}


def _note(
    group: str,
    metric: Metric,
    variant: str,
    runs: Sequence[EndedRun],
    standing: Standing | None,
) -> str:
    """The summary's description, in Markdown: the verdict, and the seeds behind it."""
    mean = fmean(run.result.last[metric.name] for run in runs)
    parts = [
        f"**{escaped(group)}, {escaped(variant)}**: {metric.title} {mean:.4g}, "
        f"mean of {len(runs)} seeds."
    ]
    if standing is not None:
        comparison = standing.comparison
        bounds = ""
        if comparison.interval is not None:
            low, high = comparison.interval
            bounds = f" (95 % interval {low:+.4g} to {high:+.4g})"
        parts.append(
            f"Against the baseline, paired by seed: **{comparison.verdict}**, "
            f"gain {comparison.gain:+.4g}{bounds}; positive is better."
        )
    rows = [
        {
            "seed": str(run.seed),
            "last": f"{run.result.last[metric.name]:.4g}",
            "best": f"{run.result.best[metric.name]:.4g}",
        }
        for run in runs
    ]
    return "\n\n".join([*parts, markdown_table(rows)])
