"""Save the best converted model of a session that fine-tuned a checkpoint."""

from pathlib import Path
from statistics import fmean

from dyt_bench.discovery.domains import Discovery
from dyt_bench.plugin.domain import Metric
from dyt_bench.plugin.task import Run
from dyt_bench.records.workspace import Workspace
from dyt_bench.scheduling.session import Session
from dyt_bench.scheduling.telling import tell


def save_best(session: Session, found: Discovery, workspace: Workspace, folder: Path) -> str | None:
    """Write the converted model of the variant with the best mean, of its best seed; says which.

    Returns:
        The folder; None where no run of a variant has finished with its weights kept.
    """
    best = best_converted(session, found.metric(session.suite.runs[0].task.domain), workspace)
    if best is None:
        tell("no converted model is saved: no run of a variant has finished with its weights kept")
        return None
    from dyt_bench.records.weights import save_model

    save_model(workspace.record(best), folder)
    tell(f"model       {folder} ({best.label}); dyt.load opens it")
    return str(folder)


def best_converted(session: Session, metric: Metric, workspace: Workspace) -> Run | None:
    """The run: of the variant whose mean over seeds is best, the best seed."""
    values: dict[str, dict[Run, float]] = {}
    for run, result in session.ended:
        kept = workspace.record(run).weights_path.exists()
        if run.variant.is_native or result.status != "finished" or not kept:
            continue
        values.setdefault(run.variant.label, {})[run] = result.last[metric.name]
    if not values:
        return None
    pick = max if metric.mode == "max" else min
    of_variant = pick(values.values(), key=lambda own: fmean(own.values()))
    return pick(of_variant, key=lambda run: of_variant[run])
