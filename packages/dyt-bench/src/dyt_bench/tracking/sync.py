"""Fill any MLflow store, or a mirror, from the records; repeating it adds nothing twice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dyt_bench.errors import UserError, quoted
from dyt_bench.plugin.mirrors import MakeMirror
from dyt_bench.records.record import Record
from dyt_bench.records.workspace import SuiteRuns, Workspace
from dyt_bench.tracking.address import outage, shown
from dyt_bench.tracking.copies import copy_suite, make_copies
from dyt_bench.tracking.mirror import Mirror, key_for
from dyt_bench.tracking.relocate import follow
from dyt_bench.tracking.repair import repair
from dyt_bench.tracking.store import Store, prepare
from dyt_bench.tracking.summary import DrawGroup, Summaries
from dyt_bench.verdicts.runs import MetricOf


@dataclass(frozen=True)
class Synced:
    """What one suite has in the store after a sync."""

    suite: str
    experiment_id: str
    runs: int  # that have begun, whether they have ended or not
    new: int  # of them, those that the store did not have
    repaired: int  # runs that a killed process had left marked as running


def sync_suites(
    names: Sequence[str],
    workspace: Workspace,
    uri: str,
    metric_of: MetricOf,
    draw: DrawGroup,
) -> list[Synced]:
    """Send to the store at ``uri`` what the suites last ran; all suites if none is named.

    Runs without a result were cut off, and are marked as killed, unless `dyt-bench run` is at
    work in the workspace.

    Args:
        draw: draws the figures of a group.

    Raises:
        UserError: no such suite has run here, or the store does not answer.
    """
    chosen = _suites(names, workspace)
    prepare()
    if (away := outage(uri)) is not None:
        raise UserError(
            f"no MLflow store answers at {shown(uri)} ({away}): start the server, or fix "
            "--tracking-uri"
        )
    follow(workspace, uri)
    live = workspace.is_running
    return [_sync(name, workspace, uri, metric_of, draw, live=live) for name in chosen]


@dataclass(frozen=True)
class Copied:
    """What one suite has in a mirror after it was sent."""

    suite: str
    mirror: str
    place: str  # where to look
    runs: int  # that have begun, whether they have ended or not
    new: int  # of them, those that it did not have whole


def copy_suites(
    names: Sequence[str], workspace: Workspace, mirrors: Mapping[str, MakeMirror]
) -> list[Copied]:
    """Send to each of the mirrors what the suites last ran; all suites if none is named.

    Raises:
        UserError: no such suite has run here, or a mirror takes no runs.
    """
    found = []
    for name in _suites(names, workspace):
        _, records = _records(name, workspace)
        for copies in make_copies(mirrors, workspace, name):
            new = copy_suite(copies, records, live=workspace.is_running)
            place = copies.mirror.place
            found.append(Copied(name, copies.name, place, len(records), new))
    return found


def _suites(names: Sequence[str], workspace: Workspace) -> Sequence[str]:
    """Those that are named, or all that have run."""
    there = workspace.suites()
    unknown = [name for name in names if name not in there]
    if unknown or not there:
        raise UserError(
            f"no suite called {quoted(unknown[0])} has run in {workspace.folder}: "
            f"there are {', '.join(there) or 'none'}"
            if unknown
            else f"no suite has run in {workspace.folder} yet: there is nothing to send"
        )
    return names or there


def _records(name: str, workspace: Workspace) -> tuple[SuiteRuns, list[Record]]:
    """What a suite last ran, and the records of its runs that have begun."""
    listed = workspace.suite(name)
    if listed is None:
        raise UserError("; ".join(workspace.problems))
    records = workspace.readable(workspace.records_of(listed))
    return listed, [record for record in records if record.about()]


def _sync(
    name: str,
    workspace: Workspace,
    uri: str,
    metric_of: MetricOf,
    draw: DrawGroup,
    *,
    live: bool,
) -> Synced:
    listed, records = _records(name, workspace)
    store = Store(uri, f"dyt-bench/{name}", workspace.artifacts)
    store.open()
    new = sum(key_for(store, record, workspace.origin) not in store.runs for record in records)
    repaired = 0 if live else repair(store, workspace.identity)
    for record in records:
        Mirror(record, workspace.origin).send(store, last=not live)
    Summaries(listed, records, workspace, metric_of, draw).send(store, last=True)
    return Synced(name, store.experiment_id, len(records), new, repaired)
