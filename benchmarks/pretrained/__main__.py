"""Swaps the norms of trained models and measures the loss before and after fine-tuning.

A small ViT and a small LLaMA are trained with their native norms. Measured is the validation loss
without a swap, after a plain swap and after a calibrated one; each again after fine-tuning at a
tenth of the learning rate.
"""

import copy
import json
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import click
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import dyt
from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.resolve import resolve
from dyt_bench.plugin.atomic import write_json
from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.optim import adamw
from dyt_bench.plugin.task import Run
from dyt_bench.suite.expand import Selection, load_suite
from dyt_bench.training.build import build, with_logging_off

SUITE = Path(__file__).with_name("suite.yaml")
BATCHES = 4  # to calibrate on


class Losses:
    """Takes the place of a module's ``log``, and collects the validation loss."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def log(self, name: str, value: Any, **_: object) -> None:
        if name == "val/loss":
            self.seen.append(float(value))


def bench(run: Run, steps: int, tune: int) -> Iterator[dict[str, Any]]:
    """Rows of one model: for each swap, the loss after it and after fine-tuning."""
    domain = discover().domain(run.task.domain)
    preset = domain.training(run.task)
    data, native, _ = build(resolve(run, domain))
    with_logging_off(native)
    data.prepare_data()
    data.setup("fit")
    train(native, data, preset, steps, run.task.learning_rate)
    batches = list(islice(data.train_dataloader(), BATCHES))
    for swap in ("none", "plain", "calibrated"):
        module = copy.deepcopy(native)
        if swap != "none":
            dyt.convert(module, "dyt", exclude=domain.models[run.task.model].exclude)
        if swap == "calibrated":
            dyt.calibrate(module, batches, run=step)
        before = validate(module, data)
        train(module, data, preset, tune, run.task.learning_rate / 10)
        yield {
            "model": f"{run.task.domain}/{run.task.model}",
            "seed": str(run.task.seed),
            "swap": swap,
            "val/loss": before,
            f"after {tune} steps": validate(module, data),
        }


def step(module: nn.Module, batch: Any) -> object:
    """A training step's forward pass, for `dyt.calibrate`."""
    assert isinstance(module, LightningModule)
    return module.training_step(batch, 0)


def train(
    module: LightningModule,
    data: LightningDataModule,
    preset: TrainingPreset,
    steps: int,
    rate: float,
) -> None:
    """Train for ``steps`` with the preset's optimiser, schedule included, at peak rate ``rate``."""
    configured: Any = adamw(module, preset, learning_rate=rate, steps=steps)
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    module.train()
    for batch in islice(cycle(data.train_dataloader()), steps):
        loss = module.training_step(batch, 0)
        assert isinstance(loss, Tensor)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()


def validate(module: LightningModule, data: LightningDataModule) -> float:
    """The mean validation loss."""
    losses = Losses()
    module.log = losses.log  # type: ignore[assignment]  # takes what modules pass here
    module.eval()
    with torch.no_grad():
        module.on_validation_epoch_start()
        for index, batch in enumerate(data.val_dataloader()):
            module.validation_step(batch, index)
        module.on_validation_epoch_end()
    return sum(losses.seen) / len(losses.seen)


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.option("--steps", type=click.IntRange(1), default=400, show_default=True, help="Training.")
@click.option("--tune", type=click.IntRange(1), default=100, show_default=True, help="Fine-tuning.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print rows, for programs.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="JSON file for the rows; results/calibration/pretrained.json is read by that page.",
)
def main(steps: int, tune: int, seeds: int, as_json: bool, out: Path | None) -> None:
    runs = load_suite(SUITE, discover(), Selection((), seeds, steps)).runs
    rows = []
    for run in runs:
        torch.manual_seed(run.task.seed)
        rows += list(bench(run, steps, tune))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, rows)
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in rows[0]:
        table.add_column(column, justify="left" if column in ("model", "swap") else "right")
    for row in rows:
        table.add_row(*(v if isinstance(v, str) else f"{v:.4f}" for v in row.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
