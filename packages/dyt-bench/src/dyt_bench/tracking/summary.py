"""Summary runs in MLflow: one for each task group and variant, with the mean over its seeds."""

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dyt_bench.errors import printable
from dyt_bench.plugin.domain import Metric
from dyt_bench.plugin.task import Run
from dyt_bench.records.record import Record
from dyt_bench.records.workspace import SuiteRuns, Workspace
from dyt_bench.tracking.links import linked
from dyt_bench.tracking.mirror import key_there, log_start
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
from dyt_bench.tracking.summarize import SUMMARY_TAG, Summary, charted, summarize
from dyt_bench.tracking.view import publish
from dyt_bench.verdicts.answer import answer
from dyt_bench.verdicts.runs import (
    EndedRun,
    MetricOf,
    TaskGroup,
    evidence_of,
    group_names,
    load_runs,
)
from dyt_bench.verdicts.standings import Standing, leaderboard
from dyt_bench.verdicts.words import compact_row

# Writes a group's artifacts into a folder: (name, metric, judged runs, standings, folder).
DrawGroup = Callable[[str, Metric, Sequence[EndedRun], Sequence[Standing], Path], None]

_DRAWN_TAG = "dyt_bench.figures"  # set once the figures are sent
_PATIENCE = 50  # a preview waits this many times as long as it took: 2 % of a core at most


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
                is_of_it = other.tags.get(SUMMARY_TAG) == summary.of
                is_ours = other.tags.get(WORKSPACE_TAG) == self.origin.workspace
                if is_of_it and is_ours and key != summary.key:
                    store.delete(key)

    def _create(self, store: Store, summary: Summary) -> None:
        # Begun as it is written: MLflow lists what began last first, and so summaries before runs.
        began = time.time()
        note = self._linked(store, summary.tags[NOTE_TAG], summary.charts)
        tags = {**summary.tags, NOTE_TAG: note}
        store.enter(summary.key, name=summary.name, started=began, tags=tags)
        known = store.runs[summary.key]
        log_start(store, known.run_id, summary.params, summary.tags["digest.data"])
        store.log_points(known.run_id, [point for row in summary.rows for point in points(row)])
        store.terminate(known, "FINISHED", began)

    def _linked(self, store: Store, note: str, group: Group) -> str:
        suite = store.experiment.partition("/")[2]
        return linked(note, store.experiment_id, group, suite)

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
                    note = self._linked(store, known.tags.get(NOTE_TAG, ""), own)
                    store.set_tags(known, {GROUP_TAG: own.name, NOTE_TAG: note})
            elif known.tags.get(member) == "run":
                _leave(store, known, member)

    def _publish(
        self, store: Store, groups: Iterable[Group], standings: Sequence[Standing]
    ) -> None:
        rows = [compact_row(standing) for standing in standings]
        origin = self.origin
        title = printable(self.listed.title)
        found = printable(answer(standings))
        publish(store, Part(origin.workspace, origin.machine, title, list(groups), rows, found))


def _leave(store: Store, known: Known, member: str) -> None:
    """Mark a run as none of its workspace's suite; others that have it keep it in their charts."""
    others = {key: what for key, what in known.tags.items() if key.startswith(MEMBER_TAG)}
    others[member] = "earlier run"
    kind = "run" if "run" in others.values() else "earlier run"
    store.set_tags(known, {member: "earlier run", KIND_TAG: kind})


class Summaries(_SuiteItem):
    """All summaries of a suite whose runs have ended, with figures, and the views that show them.

    Args:
        draw: writes a group's figures and other artifacts.
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
            drawn: dict[TaskGroup, Path] = {}  # group -> folder with its artifacts
            for summary in summaries:
                known = store.runs[summary.key]
                if _DRAWN_TAG not in known.tags:
                    if summary.group not in drawn:
                        drawn[summary.group] = Path(folder) / str(len(drawn))
                        self._draw(summary.group, runs, standings, drawn[summary.group])
                    store.client.log_artifacts(known.run_id, str(drawn[summary.group]))
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
