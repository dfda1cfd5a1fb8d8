"""Which domains fine-tune a checkpoint on data, and the task that each proposes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dyt_bench.discovery.domains import Discovery, unknown
from dyt_bench.errors import UserError
from dyt_bench.plugin.domain import Domain


def proposals(
    found: Discovery, checkpoint: Path, data: Path, options: Mapping[str, str], head: str | None
) -> list[tuple[Domain, Mapping[str, Any]]]:
    """The domains that fine-tune the checkpoint on the data, each with its task.

    Raises:
        DataError: one that has such models cannot read the checkpoint or the data.
        UserError: no domain has a model called ``head``, or none can fine-tune the checkpoint.
    """
    able = [
        domain
        for domain in found.domains.values()
        if any(model.checkpoint is not None for model in domain.models.values())
    ]
    heads = [name for domain in able for name, m in domain.models.items() if m.checkpoint]
    if not able:
        raise UserError(
            "no installed domain fine-tunes checkpoints: pip install dyt-pretrained brings some"
        )
    if head is not None and head not in heads:
        raise UserError(unknown("task", head, heads))
    made = [(domain, domain.propose(checkpoint, data, options, head)) for domain in able]
    fitting = [(domain, task) for domain, task in made if task is not None]
    if not fitting:
        raise UserError(
            f"no installed domain fine-tunes {checkpoint} on {data}: expected text for a model of "
            f"text, images for one of images; heads are {', '.join(heads)}"
        )
    return fitting
