"""Train one run: build, validate, fit, evaluate. Needs torch."""

from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch import seed_everything as seed_all

import dyt
from dyt import alphas
from dyt_bench.plugin.atomic import write_json
from dyt_bench.plugin.data import SeededDataModule, ShuffledBatches, order_of
from dyt_bench.plugin.notices import collected
from dyt_bench.plugin.parts import Parts
from dyt_bench.plugin.task import Task
from dyt_bench.training import evaluation
from dyt_bench.training.build import build, is_calibrated, weights_digest
from dyt_bench.training.checkpoint import Checkpoints, Stop, trace_crashes
from dyt_bench.training.clock import peak_memory_mib
from dyt_bench.training.counts import Counts
from dyt_bench.training.device import bind, device_class
from dyt_bench.training.draws import Draws
from dyt_bench.training.micro import divide
from dyt_bench.training.outcome import CHECKPOINT_EVERY_S, Emit, Outcome, Recorder, Stopped
from dyt_bench.training.shard import Shards, is_sharded
from dyt_bench.training.together import Join, Silent, node_rank, of_first, team
from dyt_bench.training.trainer import Diverged, Trace, Watch, make_trainer
from dyt_bench.training.weights import write_weights


def train(
    parts: Parts,
    recorder: Recorder,
    emit: Emit,
    *,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    trainer: Mapping[str, Any] = {},
    evaluate: bool = True,
    keep_weights: bool = False,
) -> Outcome:
    """Train in this process; rows go to ``recorder``, events to ``emit``.

    Where the recorder has a checkpoint, training resumes from it. On a node that is not the first
    of several, nothing is recorded.

    Args:
        trainer: arguments of Lightning's Trainer in place of what runs are trained with.
        evaluate: whether to take the metrics that are measured once, at the end.
        keep_weights: whether to write the final weights to the recorder's ``weights_path``.

    Raises:
        Stopped: SIGTERM came; a checkpoint holds what was trained.
        CannotWrite: the disk is full.
    """
    how = _How(checkpoint_every_s, trainer, evaluate, keep_weights)
    join: Join = nullcontext
    task = parts.task
    if task.processes > 1:
        follow = partial(_follow, replace(parts, metrics={}), recorder.checkpoint_path, how)
        join = partial(team, task.devices, task.nodes, follow)
        if not leads(task):
            follow(join)
            return Outcome(status="finished")
    return _joined(parts, recorder, emit, how, join)


def leads(task: Task) -> bool:
    """Whether this process is on the first of the task's nodes, which records."""
    return task.nodes == 1 or node_rank() == 0


@dataclass(frozen=True)
class _How:
    """The options of `train`."""

    checkpoint_every_s: float
    changes: Mapping[str, Any]
    evaluate: bool
    keep_weights: bool
    leads: bool = True  # records, and has the trained module in the end


def _follow(parts: Parts, checkpoint: Path, how: _How, join: Join) -> None:
    """Train beside the first process, and record nothing."""
    how = replace(how, evaluate=False, keep_weights=False, leads=False)
    with suppress(Stopped):  # the first one says so
        _joined(parts, Silent(checkpoint), lambda event: None, how, join)


def _joined(parts: Parts, recorder: Recorder, emit: Emit, how: _How, join: Join) -> Outcome:
    binding = bind()
    with Stop() as stop:
        checkpoints = Checkpoints(recorder, stop, how.checkpoint_every_s)
        outcome = _train(parts, recorder, emit, checkpoints, how, join)
    return replace(outcome, facts={**outcome.facts, "binding": binding})


def _train(
    parts: Parts,
    recorder: Recorder,
    emit: Emit,
    checkpoints: Checkpoints,
    how: _How,
    join: Join,
) -> Outcome:
    task, domain = parts.task, parts.domain
    # The first process alone builds the weights, and sends the others their shares.
    sends = is_sharded(task) and not is_calibrated(parts)
    with collected() as notices:
        data, module, norms = build(parts, empty=sends and not how.leads)
    for sentence in notices.sentences():  # into the log
        print(sentence, flush=True)
    trace = Trace(task, module, domain.metric, recorder, emit)
    weights = weights_digest(module, norms) if how.leads else ""
    reason = ""
    taken = evaluation.Evaluation({}, {}, {})
    watch = Watch(task, trace, _order(data))
    with join():
        parts_of_step = divide(data, parts)
        # First: the step alone draws by sample, and gradients are weighed when others see them.
        draws = [Draws(data)] if isinstance(data, SeededDataModule) else []
        listeners = [*draws, Counts(), watch, checkpoints]
        shards = Shards(module, empty=sends) if is_sharded(task) else None
        preset = domain.training(task)
        trainer = make_trainer(
            task, preset, trace, listeners, parts_of_step, how.changes, _skips_layers(module)
        )
        try:
            _fit(trainer, module, data, watch, checkpoints, emit)
        except Diverged as divergence:
            reason = str(divergence)
        if shards is not None:
            module = shards.gathered()
    if not how.leads:
        return Outcome(status="finished")
    if reason:
        recorder.artifacts.mkdir(exist_ok=True)
        write_json(recorder.artifacts / "last_steps.json", list(watch.recent))
    trace_crashes()
    if how.keep_weights and not reason:  # before the evaluation, which may change the module
        write_weights(module, recorder.weights_path)
    if how.evaluate and not reason:
        device = trainer.strategy.root_device
        taken = evaluation.evaluate(parts, module, data, recorder, device)
    resumed = {"resumed": ", ".join(map(str, checkpoints.resumed))} if checkpoints.resumed else {}
    return Outcome(
        status="diverged" if reason else "finished",
        reason=reason,
        first=trace.first,
        best=trace.best,
        last=trace.last,
        summary={
            "model/parameters": sum(parameter.numel() for parameter in module.parameters()),
            "model/norms_replaced": len(norms) - _native_norms(module, norms),
            "memory/peak_mib": peak_memory_mib(module.device),
            **_samples(watch.order),
            **watch.summary(),
            **taken.values,
        },
        facts={
            "weights": weights,
            "batches": watch.batches.hex()[:12],
            "device": device_class(module.device),
            "threads": str(torch.get_num_threads()),
            **_division(data, task),
            **resumed,
            **taken.methods,
            **taken.missing,
        },
        alpha=alphas(module),
        saturation=watch.saturation,
        notices=notices.sentences(),
    )


def _fit(
    trainer: Trainer,
    module: LightningModule,
    data: LightningDataModule,
    watch: Watch,
    checkpoints: Checkpoints,
    emit: Emit,
) -> None:
    """Validate and train, or resume."""
    done = of_first(checkpoints.find())
    if done is None:
        trainer.validate(module, datamodule=data, verbose=False)
    else:
        emit({"event": "resumed", "step": done})
    seed_all(watch.task.seed, verbose=False)
    checkpoint = None if done is None else checkpoints.recorder.checkpoint_path
    parts = trainer.accumulate_grad_batches
    with checkpoints.streaming(data, watch.task, watch.waited, parts):
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)


def _skips_layers(module: LightningModule) -> bool:
    """Whether a step may leave parameters without a gradient."""
    gradual = any(isinstance(part, dyt.Gradual) for part in module.modules())
    return gradual or getattr(module, "skips_layers", False)


def _division(data: LightningDataModule, task: Task) -> dict[str, str]:
    """How a batch was divided, where it was."""
    micro = getattr(data, "micro_batch", None)
    found = {"devices": str(task.devices)} if task.devices > 1 else {}
    if task.nodes > 1:
        found["nodes"] = str(task.nodes)
    return found if micro is None else {**found, "micro_batch": str(micro)}


def _order(data: LightningDataModule) -> ShuffledBatches | None:
    """The samples of each training batch, where the sampler is ours."""
    if not isinstance(data, SeededDataModule):
        return None  # its loader may not be made before it is set up
    return order_of(data.train_dataloader())


def _samples(order: ShuffledBatches | None) -> dict[str, float]:
    """The size of the training set, where batches are drawn from one."""
    return {} if order is None else {"data/samples": order.samples}


def _native_norms(module: LightningModule, norms: list[str]) -> int:
    """How many of ``norms`` are still there, rather than a layer that computes a norm as well."""
    sites = [site for site in dyt.audit(module) if dyt.original(site.module) is None]
    return sum(site.name in norms for site in sites)
