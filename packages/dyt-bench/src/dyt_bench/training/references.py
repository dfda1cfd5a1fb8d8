"""The reference scores of a task: what simple methods reach, taken once and kept in the cache."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from lightning.pytorch import LightningDataModule

from dyt_bench.plugin.derived import derived
from dyt_bench.plugin.domain import Domain, Reference
from dyt_bench.plugin.task import Task


def references(domain: Domain, task: Task, data: LightningDataModule) -> Sequence[Reference]:
    """`Domain.references`; of a task whose data and code have a digest, computed once.

    Runs that differ in variant, budget or rate alone share them.

    Args:
        data: set up for fitting.

    Raises:
        ValueError: two references have one role.
    """
    if not (task.data_digest and task.code_digest):  # nothing says when they are out of date
        return _checked(domain.references(task, data))

    def make(path: Path) -> None:
        found = _checked(domain.references(task, data))
        path.write_text(json.dumps([asdict(each) for each in found]))

    of_data = replace(task, steps=1, val_every=1, learning_rate=0.0, overrides="", metrics=())
    kept = derived(f"references/{of_data.identity}.json", make)
    return [Reference(**each) for each in json.loads(kept.read_text())]


def _checked(found: Sequence[Reference]) -> Sequence[Reference]:
    roles = [each.role for each in found]
    if twice := sorted(role for role in set(roles) if roles.count(role) > 1):
        raise ValueError(
            f"Domain.references: expected at most one a role, got {roles.count(twice[0])} that "
            f"are {twice[0]!r}"
        )
    return found
