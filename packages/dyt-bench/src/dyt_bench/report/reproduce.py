"""A suite file for each task group, which reproduces exactly its runs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dyt_bench.plugin.task import digest
from dyt_bench.suite.document import slug, to_yaml
from dyt_bench.verdicts.runs import EndedRun, TaskGroup, by_group


def write_suites(
    runs: Sequence[EndedRun], names: Mapping[TaskGroup, str], folder: Path
) -> dict[str, str]:
    """Write one suite for each group into ``folder``; returns group name -> file name."""
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, str] = {}
    for group, own in by_group(runs).items():
        name = slug(names[group])
        if f"{name}.yaml" in written.values():  # two names that differ in other letters alone
            name = f"{name[:50]}-{digest(names[group])[:6]}"
        (folder / f"{name}.yaml").write_text(suite_text(name, group, own))
        written[names[group]] = f"{name}.yaml"
    return written


def suite_text(name: str, group: TaskGroup, runs: Sequence[EndedRun]) -> str:
    """A suite of exactly these runs, as YAML."""
    task: dict[str, Any] = {
        "domain": group.domain,
        "models": [group.model],
        "datasets": [group.dataset],
        "checkpoint": group.checkpoint or None,
        "path": group.path or None,
        "options": json.loads(group.options or "{}") or None,
        "steps": group.steps,
        "batch_size": group.batch_size,
        "learning_rate": group.learning_rate,
        "training": group.training,
        "train_samples": group.train_samples,
        "val_every": group.val_every,
        "skip_bad_files": group.skip_bad_files or None,
        "split": group.split or None,
        "tuned_rates": _tuned_rates(runs) or None,
    }
    task = {key: value for key, value in task.items() if value is not None}
    variants = {run.variant: _variant(run.parameters) for run in runs}
    seeds = sorted({run.seed for run in runs})
    suite: dict[str, Any] = {"name": name, "variants": list(variants.values()), "seeds": seeds}
    metrics = str(runs[0].parameters.get("metrics", ""))
    if metrics:
        suite["metrics"] = metrics.split(", ")
    suite["tasks"] = [task]
    return to_yaml(suite)


def _variant(parameters: Mapping[str, Any]) -> str | dict[str, Any]:
    """A variant as suite files have it: its name, or a mapping with its options."""
    name = str(parameters["variant"]).partition(" ")[0]
    options = {k: parameters[k] for k in ("alpha_init_value", "recipe") if k in parameters}
    if _is_tuned(parameters):
        options["learning_rate"] = "tuned"
    elif "variant_learning_rate" in parameters:
        options["learning_rate"] = parameters["variant_learning_rate"]
    return {"name": name, **options} if options else name


def _is_tuned(parameters: Mapping[str, Any]) -> bool:
    return str(parameters["variant"]).endswith(" tuned")


def _tuned_rates(runs: Sequence[EndedRun]) -> dict[str, float]:
    """Label of a variant, without "tuned" -> the rate that trials chose for it."""
    return {
        run.variant.removesuffix(" tuned"): run.parameters["variant_learning_rate"]
        for run in runs
        if _is_tuned(run.parameters)
    }
