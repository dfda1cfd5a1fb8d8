"""Fill any MLflow store from the records, once; again, and nothing is there twice."""

from collections.abc import Sequence
from dataclasses import dataclass

from dyt_bench.discovery.domains import Discovery
from dyt_bench.errors import UserError
from dyt_bench.plugin.atomic import read_json
from dyt_bench.records.record import Record
from dyt_bench.records.workspace import Workspace
from dyt_bench.tracking.mirror import Mirror, run_key
from dyt_bench.tracking.repair import repair
from dyt_bench.tracking.store import Store, outage
from dyt_bench.tracking.summary import Summaries


@dataclass(frozen=True)
class Synced:
    """What came of one suite."""

    suite: str
    experiment_id: str
    runs: int  # begun, whether they ended or not
    new: int  # of them, runs that the store did not have
    repaired: int  # runs that were left running


def sync_suites(
    names: Sequence[str], workspace: Workspace, uri: str, found: Discovery
) -> list[Synced]:
    """Bring the store at ``uri`` up to what the suites last ran; all suites if none is named.

    What has no result was cut off, and is marked as killed, unless a run is going on in the
    workspace: then it may still get one.

    Raises:
        UserError: no such suite has run here, or the store does not answer.
    """
    there = workspace.suites()
    unknown = [name for name in names if name not in there]
    if unknown or not there:
        raise UserError(
            f"no suite called {unknown[0]!r} has run in {workspace.folder}: "
            f"there are {', '.join(there) or 'none'}"
            if unknown
            else f"no suite has run in {workspace.folder} yet: there is nothing to send"
        )
    if (away := outage(uri)) is not None:
        raise UserError(
            f"no MLflow store answers at {uri} ({away}): start the server, or mend --tracking-uri"
        )
    live = workspace.is_running
    return [_sync(name, workspace, uri, found, live=live) for name in names or there]


def _sync(name: str, workspace: Workspace, uri: str, found: Discovery, *, live: bool) -> Synced:
    about = read_json(workspace.suite_path(name))
    assert about is not None  # it was listed
    records = [Record(workspace.runs / folder) for folder in about["runs"]]
    records = [record for record in records if record.about()]
    store = Store(uri, f"dyt-bench/{name}", workspace.artifacts)
    store.open()
    new = sum(run_key(record.about()) not in store.runs for record in records)
    repaired = 0 if live else repair(store, workspace.identity)
    for record in records:
        Mirror(record, workspace.identity).send(store, last=not live)
    Summaries(about["title"], records, found, workspace).send(store, last=True)
    return Synced(name, store.experiment_id, len(records), new, repaired)
