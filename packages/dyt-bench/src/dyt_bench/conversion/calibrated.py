"""Save a checkpoint's converted model, calibrated on the user's data."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule
from torch import nn

import dyt
from dyt_bench.conversion.checkpoints import is_folder
from dyt_bench.discovery.domains import Discovery
from dyt_bench.discovery.proposals import proposals
from dyt_bench.errors import UserError, reason
from dyt_bench.plugin.task import Task

# Of a checkpoint, what belongs to the model and is not its weights.
_WEIGHTS = {".safetensors", ".bin", ".h5", ".msgpack", ".pt", ".pth", ".ckpt", ".onnx"}
_MOST = 100 * 2**20  # bytes of such a file


def saver(
    spec: str, data: Path | None, out: Path | None, options: Mapping[str, str], found: Discovery
) -> Callable[[nn.Module], None] | None:
    """What calibrates and writes a converted model; None where nothing is to be written.

    Raises:
        UserError: something for it is missing, or the folder is there already.
    """
    if out is None:
        if data is not None:
            raise UserError("--data is what --save calibrates on: add --save FOLDER")
        return None
    if not is_folder(spec):
        raise UserError("--save is for a checkpoint's folder, as in dyt-bench convert ./bert")
    if data is None:
        raise UserError(
            "--save calibrates the layers on your data: add --data, with a table or class folders"
        )
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is there already: name a new folder")
    folder, source, to = Path(spec).expanduser().absolute(), data.absolute(), out
    prepared = _data(folder, source, options, found)

    def save(model: nn.Module) -> None:
        try:
            dyt.calibrate(model, _inputs(model, prepared))
            dyt.save(model, to)
        except ValueError as error:
            raise UserError(f"{folder}: {reason(error)}") from None
        _copy_rest(folder, to)

    return save


def _data(
    checkpoint: Path, data: Path, options: Mapping[str, str], found: Discovery
) -> LightningDataModule:
    """The data as the domain that fine-tunes the checkpoint reads them."""
    domain, proposed = proposals(found, checkpoint, data, options, None)[0]
    task = Task(
        domain=domain.name,
        model=proposed["models"][0],
        dataset=proposed["datasets"][0],
        checkpoint=checkpoint,
        path=data,
        options=tuple(sorted(options.items())),
        steps=1,
        batch_size=proposed.get("batch_size", 1),
        learning_rate=0.0,
        val_every=1,
    )
    made = domain.build_data(task)
    made.prepare_data()
    made.setup("fit")
    return made


def _inputs(model: nn.Module, data: LightningDataModule) -> Iterator[Any]:
    """The inputs of each training batch, those that the model takes."""
    takes = signature(model.forward).parameters
    for inputs, _ in data.train_dataloader():
        known = {name: value for name, value in inputs.items() if name in takes}
        yield known or next(iter(inputs.values()))  # timm calls its input x


def _copy_rest(checkpoint: Path, to: Path) -> None:
    """The tokenizer and the like."""
    for file in sorted(checkpoint.iterdir()):
        is_rest = file.is_file() and file.suffix not in _WEIGHTS and file.stat().st_size < _MOST
        if is_rest and not (to / file.name).exists() and not file.name.endswith(".index.json"):
            shutil.copyfile(file, to / file.name)
