"""Load the trained module of a run whose weights were kept."""

from pathlib import Path

import torch
from lightning.pytorch import LightningModule

from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.resolve import resolve
from dyt_bench.errors import UserError
from dyt_bench.plugin.task import run_of
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
    from dyt_bench.training.build import build

    if not isinstance(record, Record):
        record = Record(Path(record))
    about = record.about()
    if not about:
        raise UserError(f"{record.folder} is no run's folder: name one of .dyt-bench/runs")
    if not record.weights_path.exists():
        raise UserError(
            f"{record.folder} has no weights.pt: run its suite with --fresh --keep-weights"
        )
    run, found = run_of(about["parameters"]), discover()
    code = found.code_digest(run.task.domain)
    if code != run.task.code_digest:
        raise UserError(
            f"{record.folder} was made by another version of the code ({run.task.code_digest}, "
            f"installed is {code}): check out commit {about['environment'].get('commit', '')}"
        )
    _, module, _ = build(resolve(run))
    module.load_state_dict(torch.load(record.weights_path, map_location="cpu", weights_only=True))
    return module.eval()
