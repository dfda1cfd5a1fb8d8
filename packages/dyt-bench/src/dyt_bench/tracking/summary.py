"""Summary runs: one for each domain, model and variant, with what its seeds come to together.

What is logged is named ``section/group metric``, and a group's metrics are its own: charts
of all summaries, grouped by variant, then never average one model with another.
"""

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from dyt_bench.discovery.domains import Discovery
from dyt_bench.plugin.atomic import read_json
from dyt_bench.plugin.task import NATIVE, Run, digest
from dyt_bench.records.record import Record
from dyt_bench.records.workspace import Workspace
from dyt_bench.tracking.mirror import by_layer, log_start, model_variant, run_key
from dyt_bench.tracking.store import KIND_TAG, NOTE_TAG, WORKSPACE_TAG, Store, points
from dyt_bench.tracking.view import GROUP_TAG, GroupView, publish

if TYPE_CHECKING:
    from dyt_bench.verdicts import results
    from dyt_bench.verdicts.results import EndedRun
    from dyt_bench.verdicts.standings import Standing

RESULT, CURVES, COST, DIAGNOSTICS = "result", "curves", "cost", "diagnostics"
_SUMMARY_TAG = "dyt_bench.summary_of"
_DRAWN_TAG = "dyt_bench.figures"  # set once they are there
_PATIENCE = 50  # a preview waits so many times longer than it took: 2 % of a core at most
# In a run's summary, and as a chart names it.
_COSTS = {
    "time/step_ms_median": "step time ms",
    "memory/peak_mib": "peak memory MiB",
    "time/units_per_s": "throughput units per s",
}


@dataclass(frozen=True)
class Summary:
    """What one summary run is made of."""

    key: str
    group: "results.TaskGroup"
    of: str  # group and variant: what there is one summary of
    name: str
    params: dict[str, Any]
    tags: dict[str, str]
    rows: list[dict[str, float]]
    ended: float  # seconds since the epoch


class Summaries:
    """All summary runs of a suite that is through, and the views that show them."""

    def __init__(
        self, title: str, records: Sequence[Record], found: Discovery, workspace: Workspace
    ) -> None:
        self.title, self.records, self.found = title, records, found
        self.workspace, self.workspace_id = workspace, workspace.identity

    def send(self, store: Store, *, last: bool) -> bool:
        """Make the runs that are missing, remove those they replace, publish the views."""
        runs, standings = self._judge()
        self._fill(store, runs, standings)
        with tempfile.TemporaryDirectory() as folder:
            drawn: dict[results.TaskGroup, Path] = {}  # group -> its figures
            for summary in summarize(runs, standings, self.found):
                known = store.runs[summary.key]
                if _DRAWN_TAG not in known.tags:
                    if summary.group not in drawn:
                        drawn[summary.group] = Path(folder) / str(len(drawn))
                        _draw(summary.group, runs, standings, self.found, drawn[summary.group])
                    figures = str(drawn[summary.group])
                    store.client.log_artifacts(known.run_id, figures, "figures")
                    store.set_tags(known, {_DRAWN_TAG: "yes"})
        judged = groups((run.group for run in runs if run.is_judged), self.found)
        self._sort(store, judged)
        if judged:
            publish(store, self.title, list(judged.values()), standings)
        return True

    def _judge(self) -> "tuple[list[EndedRun], list[Standing]]":
        from dyt_bench.verdicts.results import Evidence, load_runs
        from dyt_bench.verdicts.standings import leaderboard

        runs = load_runs(self.records)
        timings = self.workspace.timings(self.records)
        return runs, leaderboard(Evidence(self.title, runs, timings), self.found)

    def _fill(
        self, store: Store, runs: "Sequence[EndedRun]", standings: "Sequence[Standing]"
    ) -> None:
        """Every summary, its figures apart, in the place of what was one of fewer seeds."""
        for summary in summarize(runs, standings, self.found):
            known = store.runs.get(summary.key)
            if known is None or known.status != "FINISHED":
                self._make(store, summary)
            for key, other in list(store.runs.items()):
                if other.tags.get(_SUMMARY_TAG) == summary.of and key != summary.key:
                    store.delete(key)

    def _make(self, store: Store, summary: Summary) -> None:
        tags = {**summary.tags, WORKSPACE_TAG: self.workspace_id}
        store.enter(summary.key, name=summary.name, started=summary.ended, tags=tags)
        known = store.runs[summary.key]
        log_start(store, known.run_id, summary.params, summary.tags["digest.data"])
        store.log_points(known.run_id, [point for row in summary.rows for point in points(row)])
        store.terminate(known, "FINISHED", summary.ended)

    def _sort(self, store: Store, named: "Mapping[results.TaskGroup, GroupView]") -> None:
        """Say of which group a run is; one that the suite no longer has leaves its charts."""
        from dyt_bench.verdicts import results

        begun = {run_key(about): about for record in self.records if (about := record.about())}
        for key, known in store.runs.items():
            ours = known.tags.get(WORKSPACE_TAG) == self.workspace_id
            if ours and known.tags.get(KIND_TAG) == "run" and key not in begun:
                store.set_tags(known, {KIND_TAG: "earlier run"})
            elif key in begun:
                group = named.get(results.TaskGroup.of(begun[key]["parameters"]))
                if group is not None:
                    store.set_tags(known, {GROUP_TAG: group.name})


class Preview(Summaries):
    """Views and summaries while a suite runs: there from its start, and filled as runs end.

    Args:
        runs: what the suite starts with; more seeds of the same do not change its views.
    """

    def __init__(
        self, name: str, title: str, runs: Sequence[Run], found: Discovery, workspace: Workspace
    ) -> None:
        from dyt_bench.verdicts.results import TaskGroup as Key

        super().__init__(title, [], found, workspace)
        self.path = workspace.suite_path(name)
        self.named = groups((Key.of(run.parameters()) for run in runs), found)
        self._ended = -1  # runs, when the store was last told
        self._due = 0.0

    def send(self, store: Store, *, last: bool) -> bool:
        """Bring views and summaries up to the runs that have ended."""
        if last:  # what there is to say at the end, `Summaries` says
            return True
        start = time.monotonic()
        if start < self._due:
            return False
        about = read_json(self.path) or {"runs": []}
        self.records = [Record(self.workspace.runs / folder) for folder in about["runs"]]
        ended = sum(record.result_path.exists() for record in self.records)
        self._sort(store, self.named)
        if ended != self._ended:
            runs, standings = self._judge()
            self._fill(store, runs, standings)
            publish(store, self.title, list(self.named.values()), standings)
        self._ended = ended
        self._due = time.monotonic() + _PATIENCE * (time.monotonic() - start)
        return False


def groups(
    keys: "Iterable[results.TaskGroup]", found: Discovery
) -> "dict[results.TaskGroup, GroupView]":
    """What is compared, each with the names of its own metrics."""
    from dyt_bench.verdicts.results import group_names

    names = group_names(keys)
    models = [key.model for key in names]
    return {
        key: GroupView(
            name=name,
            short=key.model if models.count(key.model) == 1 else name,
            metric=found.domain(key.domain).metric,
        )
        for key, name in names.items()
    }


def summarize(
    runs: "Sequence[EndedRun]", standings: "Sequence[Standing]", found: Discovery
) -> list[Summary]:
    """One summary for each group and variant that has a finished run, in the order of the runs."""
    summaries = []
    for key, group in groups((run.group for run in runs if run.is_judged), found).items():
        own = [run for run in runs if run.group == key and run.is_judged]
        timed = any(s.group == key and s.speed is not None for s in standings)
        for variant in dict.fromkeys(run.variant for run in own):
            standing = [s for s in standings if (s.group, s.variant) == (key, variant)]
            seeds = [run for run in own if run.variant == variant]
            judged = standing[0] if standing else None
            summaries.append(_summarize(group, variant, seeds, judged, timed=timed))
    return summaries


def _summarize(
    group: GroupView,
    variant: str,
    runs: "Sequence[EndedRun]",
    standing: "Standing | None",
    *,
    timed: bool,
) -> Summary:
    metric = group.metric.name
    ended = max(run.result.ended for run in runs)
    values = [run.result.last[metric] for run in runs]
    ends = {
        group.key(RESULT, metric): fmean(values),
        group.key(RESULT, f"{metric} at best"): fmean(r.result.best[metric] for r in runs),
        "summary/mean": fmean(values),
        "summary/least": min(values),
        "summary/most": max(values),
        "summary/seeds": len(values),
    }
    for name, title in _COSTS.items():
        measured = [r.result.summary[name] for r in runs if name in r.result.summary]
        if measured:
            ends[group.key(COST, title)] = fmean(measured)
    verdict = "the reference"
    if standing is not None:
        verdict = standing.comparison.verdict
        ends["summary/gain"] = standing.comparison.gain
        if standing.comparison.interval is not None:
            ends["summary/gain_low"], ends["summary/gain_high"] = standing.comparison.interval
    # The native norm, which has no standing, is what the others are measured by: 1.
    speed = standing.speed if standing is not None else None
    if speed is not None or (timed and variant == NATIVE):
        ratio = 1.0 if speed is None else speed.ratio.middle
        ends[group.key(COST, "step time ratio")] = ends["summary/step_ratio"] = ratio
    curves = {
        group.key(CURVES, metric): _mean_curve(runs, metric),
        group.key(CURVES, "train/loss"): _mean_curve(runs, "train/loss"),
        group.key(DIAGNOSTICS, "alpha by layer"): by_layer([r.result.alpha for r in runs]),
        group.key(DIAGNOSTICS, "saturated share by layer"): by_layer(
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
    shared = ("variant", "domain", "model", "dataset", "steps", "batch_size", "learning_rate")
    numbers = sorted(int(run.parameters["seed"]) for run in runs)
    about = [(run.about["identity"], run.about["started"], run.result.ended) for run in runs]
    of = f"{group.name} {variant}"
    tags = {
        KIND_TAG: "summary",
        _SUMMARY_TAG: of,
        "model_variant": model_variant(parameters),
        "verdict": verdict,
        "seeds": str(len(runs)),
        "digest.data": runs[0].about["digests"]["data"],
        "mlflow.source.name": "dyt-bench",
        NOTE_TAG: _note(group, variant, runs, standing),
    }
    return Summary(
        key=f"summary {digest(of, about, ends)}",
        group=runs[0].group,
        of=of,
        name=f"{group.name} {variant}",
        params={
            **{name: parameters[name] for name in shared},
            "seeds": ", ".join(map(str, numbers)),
        },
        tags=tags,
        rows=rows,
        ended=ended,
    )


def _mean_curve(runs: "Sequence[EndedRun]", metric: str) -> dict[int, float]:
    """Step -> mean over those runs that logged the metric at it."""
    values: dict[int, list[float]] = {}
    for run in runs:
        for row in run.rows:
            if metric in row:
                values.setdefault(int(row["step"]), []).append(row[metric])
    return {step: fmean(found) for step, found in sorted(values.items())}


def _note(
    group: GroupView, variant: str, runs: "Sequence[EndedRun]", standing: "Standing | None"
) -> str:
    """The description, in Markdown: the verdict, and the seeds it comes from."""
    metric = group.metric
    mean = fmean(run.result.last[metric.name] for run in runs)
    lines = [f"**{group.name}, {variant}**: {metric.title} {mean:.4g}, mean of {len(runs)} seeds."]
    if standing is not None:
        comparison = standing.comparison
        bounds = ""
        if comparison.interval is not None:
            low, high = comparison.interval
            bounds = f" (95 % interval {low:+.4g} to {high:+.4g})"
        lines += [
            "",
            f"Against the native norm, paired by seed: **{comparison.verdict}**, "
            f"gain {comparison.gain:+.4g}{bounds}; positive is better.",
        ]
    lines += ["", "| seed | last | best |", "|---|---|---|"]
    lines += [
        f"| {run.parameters['seed']} | {run.result.last[metric.name]:.4g} "
        f"| {run.result.best[metric.name]:.4g} |"
        for run in runs
    ]
    return "\n".join(lines)


def _draw(
    group: "results.TaskGroup",
    runs: "Sequence[EndedRun]",
    standings: "Sequence[Standing]",
    found: Discovery,
    folder: Path,
) -> None:
    """The report's figures, of one group alone."""
    from dyt_bench.report.figures import curves, effects
    from dyt_bench.report.figures.style import LIGHT, drawn
    from dyt_bench.verdicts.results import group_names

    folder.mkdir()
    own = [run for run in runs if run.group == group and run.is_judged]
    names = group_names(run.group for run in runs)
    metrics = {group.domain: found.domain(group.domain).metric}
    with drawn(LIGHT):
        curves.sheet(own, names, metrics, LIGHT).savefig(folder / "curves.png")
        if compared := [standing for standing in standings if standing.group == group]:
            effects.summary(compared, LIGHT).savefig(folder / "summary.png")
