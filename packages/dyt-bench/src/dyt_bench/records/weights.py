"""Load the trained module of a run whose weights were kept, or save its model for others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.resolve import resolve
from dyt_bench.errors import UserError, quoted
from dyt_bench.plugin.task import Run, run_of
from dyt_bench.records.record import Record


def load_weights(record: Record | Path | str) -> LightningModule:
    """The trained module of a run, in evaluation mode: built as the run was, with its weights.

    Its validation metrics are those that the run's ``result.json`` calls ``last``; on a CPU,
    to the bit.

    Args:
        record: the run, or its folder.

    Raises:
        UserError: the folder is no run's, its weights were not kept, or it was made by another
            version of the code, whose models may differ.
    """
    return _rebuilt(record)[2]


def save_model(record: Record | Path | str, folder: Path) -> None:
    """Write the trained model of a run as its domain does, for use without the harness.

    Raises:
        UserError: as `load_weights` does, or the domain saves no models.
    """
    run, data, module = _rebuilt(record)
    domain = discover().domain(run.task.domain)
    try:
        domain.save_model(run.task, module, data, folder)
    except NotImplementedError:
        raise UserError(f"the domain {quoted(domain.name)} saves no models") from None


def rebuilt(
    about: Mapping[str, Any], weights: Mapping[str, Tensor], source: str
) -> tuple[Run, LightningDataModule, LightningModule]:
    """The run, its data, and its trained module in evaluation mode.

    Args:
        about: as the run's ``run.json`` has it.
        weights: the module's state dict.
        source: where both come from, for messages.

    Raises:
        UserError: they were made by another version of the code, whose models may differ.
    """
    from dyt_bench.training.build import build

    run, found = run_of(about["parameters"]), discover()
    code = found.code_digest(run.task.domain)
    if code != run.task.code_digest:
        raise UserError(
            f"{source} was made by another version of the code ({run.task.code_digest}, "
            f"installed is {code}): check out commit {about['environment'].get('commit', '')}"
        )
    data, module, _ = build(resolve(run))
    module.load_state_dict(dict(weights))
    return run, data, module.eval()


def _rebuilt(
    record: Record | Path | str,
) -> tuple[Run, LightningDataModule, LightningModule]:
    if not isinstance(record, Record):
        record = Record(Path(record))
    about = record.about()
    if not about:
        raise UserError(f"{record.folder} is no run's folder: name one of .dyt-bench/runs")
    if not record.weights_path.exists():
        raise UserError(
            f"{record.folder} has no weights.pt: run its suite with --fresh --keep-weights"
        )
    weights = torch.load(record.weights_path, map_location="cpu", weights_only=True)
    return rebuilt(about, weights, str(record.folder))
