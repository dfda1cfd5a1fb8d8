"""Runs that an earlier process left running: it was killed, and nobody told the store."""

from dyt_bench.tracking.store import KIND_TAG, WORKSPACE_TAG, Store


def repair(store: Store, workspace_id: str) -> int:
    """Mark every running run of the workspace as killed, at its last point; returns how many.

    Only for a caller who knows that nothing of the workspace runs. A run that then goes on
    runs again in the same run.
    """
    left = [
        known
        for known in store.runs.values()
        if known.status == "RUNNING"
        and known.tags.get(WORKSPACE_TAG) == workspace_id
        and known.tags.get(KIND_TAG) != "summary"
    ]
    for known in left:
        store.terminate(known, "KILLED", store.last_time(known))
    return len(left)
