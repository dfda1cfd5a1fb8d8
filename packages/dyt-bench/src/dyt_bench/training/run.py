"""Train one run: build, validate, fit, evaluate. Needs torch."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch import seed_everything as seed_all

import dyt
from dyt import alphas
from dyt_bench.plugin.atomic import write_json
from dyt_bench.plugin.data import SeededDataModule, ShuffledBatches
from dyt_bench.plugin.notices import collected
from dyt_bench.plugin.parts import Parts
from dyt_bench.training import evaluation
from dyt_bench.training.build import build, weights_digest
from dyt_bench.training.checkpoint import Checkpoints, Stop, trace_crashes
from dyt_bench.training.clock import peak_memory_mib
from dyt_bench.training.device import bind, device_class
from dyt_bench.training.outcome import CHECKPOINT_EVERY_S, Emit, Outcome, Recorder
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

    Where the recorder has a checkpoint, training resumes from it.

    Args:
        trainer: arguments of Lightning's Trainer in place of what runs are trained with.
        evaluate: whether to take the metrics that are measured once, at the end.
        keep_weights: whether to write the final weights to the recorder's ``weights_path``.

    Raises:
        Stopped: SIGTERM came; a checkpoint holds what was trained.
        CannotWrite: the disk is full.
    """
    binding = bind()
    with Stop() as stop:
        checkpoints = Checkpoints(recorder, stop, checkpoint_every_s)
        outcome = _train(parts, recorder, emit, checkpoints, trainer, evaluate, keep_weights)
    return replace(outcome, facts={**outcome.facts, "binding": binding})


def _train(
    parts: Parts,
    recorder: Recorder,
    emit: Emit,
    checkpoints: Checkpoints,
    changes: Mapping[str, Any],
    evaluate: bool,
    keep_weights: bool,
) -> Outcome:
    task, domain = parts.task, parts.domain
    with collected() as notices:
        data, module, norms = build(parts)
    for sentence in notices.sentences():  # into the log
        print(sentence, flush=True)
    trace = Trace(task, module, domain.metric, recorder, emit)
    watch = Watch(task, trace, _order(data))
    trainer = make_trainer(task, domain.training(task), trace, [watch, checkpoints], changes)
    weights = weights_digest(module, norms)
    reason = ""
    taken = evaluation.Evaluation({}, {}, {})
    try:
        done = checkpoints.find()
        if done is None:
            trainer.validate(module, datamodule=data, verbose=False)
        else:
            emit({"event": "resumed", "step": done})
        seed_all(task.seed, verbose=False)
        checkpoint = None if done is None else recorder.checkpoint_path
        with checkpoints.streaming(data, task, watch.waited):
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        trace_crashes()
        if keep_weights:  # before the evaluation, which may change the module
            write_weights(module, recorder.weights_path)
        if evaluate:
            module.to(trainer.strategy.root_device).eval()  # fitting ends on the CPU
            taken = evaluation.evaluate(parts, module, data, recorder)
    except Diverged as divergence:
        reason = str(divergence)
        recorder.artifacts.mkdir(exist_ok=True)
        write_json(recorder.artifacts / "last_steps.json", list(watch.recent))
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
            **watch.summary(),
            **taken.values,
        },
        facts={
            "weights": weights,
            "batches": watch.batches.hex()[:12],
            "device": device_class(module.device),
            "threads": str(torch.get_num_threads()),
            **resumed,
            **taken.methods,
            **taken.missing,
        },
        alpha=alphas(module),
        saturation=watch.saturation,
        notices=notices.sentences(),
    )


def _order(data: LightningDataModule) -> ShuffledBatches | None:
    """The samples of each training batch, where the sampler is ours."""
    if not isinstance(data, SeededDataModule):
        return None  # its loader may not be made before it is set up
    sampler = getattr(data.train_dataloader(), "batch_sampler", None)
    return sampler if isinstance(sampler, ShuffledBatches) else None


def _native_norms(module: LightningModule, norms: list[str]) -> int:
    """How many of ``norms`` are still there, rather than a layer that computes a norm as well."""
    sites = [site for site in dyt.audit(module) if dyt.original(site.module) is None]
    return sum(site.name in norms for site in sites)
