"""What an executor's processes do: a run's training, and timing a task's variants.

Jobs import torch in their own process; the process that plans stays light.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from dyt_bench.discovery.resolve import resolve
from dyt_bench.executors.contract import JobStopped
from dyt_bench.plugin.domain import Domain
from dyt_bench.plugin.task import Run, Task, Variant
from dyt_bench.records.record import Record, Result
from dyt_bench.training.outcome import CHECKPOINT_EVERY_S, Emit, Stopped

TRAINING = ["dyt_bench.training.run", "dyt_bench.training.step"]  # to preload


def train_run(
    run: Run,
    record: Record,
    emit: Emit,
    *,
    domain: Domain | None = None,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    trainer: Mapping[str, Any] = {},
    evaluate: bool = True,
    keep_weights: bool = False,
) -> Result:
    """Train ``run`` in this process, resuming where its record has a checkpoint.

    The record has begun; its result is returned, not yet written. Options are those of
    `dyt_bench.training.run.train`; ``domain`` is by default the installed one.

    Raises:
        JobStopped: SIGTERM came; a checkpoint holds what was trained.
        CannotWrite: the record takes no more rows.
    """
    from dyt_bench.training.run import leads, train

    with record.lock() if leads(run.task) else nullcontext():
        started = time.time()
        try:
            outcome = train(
                resolve(run, domain),
                record,
                emit,
                checkpoint_every_s=checkpoint_every_s,
                trainer=trainer,
                evaluate=evaluate,
                keep_weights=keep_weights,
            )
        except Stopped as stopped:
            raise JobStopped(str(stopped)) from None
        return Result(**asdict(outcome), started=started, ended=time.time())


def time_task(
    task: Task,
    variants: Sequence[Variant],
    *,
    rounds: int,
    compile: bool = False,
    domain: Domain | None = None,
) -> dict[str, list[float]]:
    """Training steps of a task's variants in turn: label -> seconds of a step, by round.

    The first variant is timed twice, the second time as "A/A"; all under ``torch.compile`` where
    ``compile`` says so.
    """
    from dyt_bench.training.step import time_variants

    parts = {
        variant.label: resolve(Run(task=task, variant=variant), domain) for variant in variants
    }
    return time_variants(parts, rounds=rounds, compile=compile)
