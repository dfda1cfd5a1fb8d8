"""A suite file for each subject, from which every one of its rows can be made again."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dyt_bench.verdicts.results import Run, Subject
from dyt_bench.verdicts.standings import by_subject


def write_suites(runs: Sequence[Run], names: Mapping[Subject, str], folder: Path) -> dict[str, str]:
    """Write one suite a subject into ``folder``; returns subject name -> file name."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for subject, own in by_subject(runs).items():
        name = slug(names[subject])
        (folder / f"{name}.yaml").write_text(suite_text(name, subject, own))
        written[names[subject]] = f"{name}.yaml"
    return written


def suite_text(name: str, subject: Subject, runs: Sequence[Run]) -> str:
    """A suite of exactly these runs, as YAML."""
    task: dict[str, Any] = {
        "domain": subject.domain,
        "models": [subject.model],
        "datasets": [subject.dataset],
        "path": subject.path or None,
        "steps": subject.steps,
        "batch_size": subject.batch_size,
        "learning_rate": subject.learning_rate,
        "training": subject.training,
        "train_samples": subject.train_samples,
        "val_every": subject.val_every,
    }
    task = {key: value for key, value in task.items() if value is not None}
    arms = {run.norm: _norm(run.parameters) for run in runs}
    seeds = sorted({run.seed for run in runs})
    suite: dict[str, Any] = {"name": name, "norms": list(arms.values()), "seeds": seeds}
    metrics = str(runs[0].parameters.get("metrics", ""))
    if metrics:
        suite["metrics"] = metrics.split(", ")
    suite["tasks"] = [task]
    return yaml.safe_dump(suite, sort_keys=False, default_flow_style=None, allow_unicode=True)


def slug(name: str) -> str:
    """As a suite's name and a file's must be."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "suite"


def _norm(parameters: Mapping[str, Any]) -> str | dict[str, Any]:
    name = str(parameters["norm"]).partition(" ")[0]
    options = {k: parameters[k] for k in ("alpha_init_value", "recipe") if k in parameters}
    return {"name": name, **options} if options else name
