"""What the harness adds to a training step: the same model and batches in a plain PyTorch loop.

Both train vision/vit in this process, on one thread, in turn, round after round. A step lasts
from its row to the next; the first ones and the validations are left out. Figures are medians and
quartiles, over rounds, of the ratio of the median steps, by the wall clock and by the process's
time on the CPU: on a machine that others use, the second is the one to believe. The limit, 3 %,
holds at 100 ms a step: choose the batch size for that.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import click
import torch

from dyt_bench.discovery.domains import discover
from dyt_bench.plugin.task import Run, Task
from dyt_bench.records.record import Record
from dyt_bench.training.clock import quartiles
from dyt_bench.training.run import build, train_run

LIMIT = 0.03  # of a step
FIRST = 3  # steps that pay for allocation

Clock = tuple[float, float]  # seconds by the wall, and of the processor


def clock() -> Clock:
    return time.perf_counter(), time.process_time()


def harness(run: Run, folder: Path) -> Iterator[Clock]:
    """The clock after each step, as the harness trains."""
    ticks: list[Clock] = []

    def tell(event: dict[str, Any]) -> None:
        if "train/loss" in event.get("metrics", {}):
            ticks.append(clock())

    record = Record(folder)
    record.begin(run, {})
    train_run(run, record, tell)
    yield from ticks


def plain(run: Run, folder: Path) -> Iterator[Clock]:
    """The clock after each step of a loop that does nothing else."""
    data, module, _ = build(run, discover().domain(run.task.domain))
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    configured: Any = module.configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    module.train()
    for index, batch in enumerate(islice(data.train_dataloader(), run.task.steps)):
        loss = module.training_step(batch, index)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
        scheduler.step()
        loss.item()  # type: ignore[union-attr]
        yield clock()


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--steps", default=16, show_default=True, help="Of each loop in each round.")
@click.option("--batch-size", default=24, show_default=True)
def main(rounds: int, steps: int, batch_size: int) -> None:
    """Print milliseconds a step and the overhead; exit status 1 if it is over the limit."""
    torch.set_num_threads(1)
    task = Task(
        domain="vision",
        model="vit",
        dataset="digits",
        steps=steps,
        batch_size=batch_size,
        learning_rate=1e-3,
        val_every=steps,
    )
    loops: list[Callable[[Run, Path], Iterator[Clock]]] = [plain, harness]
    # loop -> clock -> the median step of each round, in seconds
    medians = {loop: ([], []) for loop in loops}  # type: dict[Any, tuple[list[float], list[float]]]
    for number in range(rounds):
        for loop in loops if number % 2 else reversed(loops):
            with tempfile.TemporaryDirectory() as folder:
                ticks = list(loop(Run(task=task), Path(folder) / "run"))[FIRST:]
            for place in (0, 1):
                spent = [after[place] - before[place] for before, after in pairwise(ticks)]
                medians[loop][place].append(statistics.median(spent))
    report: dict[str, Any] = {"rounds": rounds, "steps": steps, "batch_size": batch_size}
    for place, name in enumerate(("wall", "cpu")):
        bare, whole = medians[plain][place], medians[harness][place]
        report[f"{name}_step_ms"] = round(1e3 * statistics.median(bare), 2)
        ratios = [w / b - 1 for w, b in zip(whole, bare, strict=True)]
        report[f"{name}_overhead"] = [round(ratio, 4) for ratio in quartiles(ratios)]
    print(json.dumps(report, indent=1))
    sys.exit(report["cpu_overhead"][1] > LIMIT)


if __name__ == "__main__":
    main()
