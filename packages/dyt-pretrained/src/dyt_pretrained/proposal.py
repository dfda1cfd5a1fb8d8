"""A checkpoint and data -> the task of a suite: head, number of steps, rate. No torch."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dyt_bench.plugin.domain import DataError, listed
from dyt_pretrained import files
from dyt_pretrained.checkpoint import Checkpoint, read_checkpoint
from dyt_pretrained.data.table import Table, is_quantity, read_table

# BERT's rate (arXiv 1810.04805, appendix A.3) at its width; AdamW's best rate falls as the width
# grows, about as its inverse (arXiv 2203.03466).
_RATE, _WIDTH = 5e-5, 768
_RATES = (1e-5, 1e-3)
_EPOCHS = 3
_STEPS = (100, 2000)
_BATCH = 16
_TRAINED_ON = 0.8  # of the rows
_VALIDATIONS = 5
_IMAGES = "image-classification"


def propose(
    checkpoint: Path,
    data: Path,
    options: Mapping[str, str],
    model: str | None,
    models: Collection[str],
) -> dict[str, Any] | None:
    """What `Domain.propose` returns, of the domain that has ``models``.

    Raises:
        DataError: the checkpoint or the data cannot be read, or one does not fit the other.
    """
    if model is not None and model not in models:
        return None
    found = read_checkpoint(checkpoint)
    if found.sees:
        return _of_images(found, data, options) if _IMAGES in models else None
    table = read_table(files.table(data)[0])
    head = model or _head(found, table, options.get("label"))
    if head not in models:
        return None
    return _task(found, head, "table", len(table))


def _of_images(found: Checkpoint, data: Path, options: Mapping[str, str]) -> dict[str, Any]:
    images = list(files.images(data))
    if options:
        raise DataError(
            f"{found.folder} takes images, whose folders are their classes: leave out "
            f"{listed(options)}"
        )
    return _task(found, _IMAGES, "images", len(images))


def _head(found: Checkpoint, table: Table, label: str | None) -> str:
    if label is None:
        return "causal-lm" if found.predicts_next else "masked-lm"
    values = table.column(label)
    if isinstance(values[0], list):
        return "token-classification"
    return "regression" if is_quantity(values) else "sequence-classification"


def _task(found: Checkpoint, head: str, dataset: str, samples: int) -> dict[str, Any]:
    batch = min(_BATCH, max(1, round(_TRAINED_ON * samples) // 2))
    steps = round(_EPOCHS * _TRAINED_ON * samples / batch)
    steps = min(max(steps, _STEPS[0]), _STEPS[1])
    rate = min(max(_RATE * _WIDTH / found.width, _RATES[0]), _RATES[1])
    return {
        "models": [head],
        "datasets": [dataset],
        "steps": steps - steps % _VALIDATIONS,
        "batch_size": batch,
        "learning_rate": float(f"{rate:.2g}"),
    }
