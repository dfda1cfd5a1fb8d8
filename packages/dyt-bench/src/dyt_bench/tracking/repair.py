"""Runs that are marked as running in the store although their process was killed."""

from dyt_bench.tracking.store import KIND_TAG, WORKSPACE_TAG, Store


def repair(store: Store, workspace_id: str) -> int:
    """Mark every running run of the workspace as killed at its last point; returns how many.

    The caller must know that nothing in the workspace runs. A run that is resumed later is marked
    as running again.
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
