"""Train one run, or time one task: build, swap, train, validate, measure. Needs torch."""

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch import seed_everything as seed_all
from torch import Tensor, nn
from torch.optim import Optimizer

import dyt
from dyt._probe import alphas
from dyt._surgery.embedding import ScaledEmbedding
from dyt_bench.discovery.datasets import as_read
from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.extensions import RECIPES, VARIANTS
from dyt_bench.executors.running import trace_crashes
from dyt_bench.plugin.domain import Domain, TrainingPreset
from dyt_bench.plugin.task import Run, Task, Variant
from dyt_bench.records.record import CHECKPOINT_EVERY_S, Record, Result
from dyt_bench.records.weights import write_weights
from dyt_bench.training import evaluation
from dyt_bench.training.checkpoint import Checkpoints, Stop
from dyt_bench.training.clock import interleave, now, peak_memory_mib
from dyt_bench.training.trainer import Diverged, Emit, Trace, Watch, as_bytes, make_trainer
from dyt_bench.verdicts.statistics import AA

TIMED_BATCHES = 4  # kept in memory and taken in turn, so that loading is not timed


def train_run(
    run: Run,
    record: Record,
    emit: Emit,
    *,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    domain: Domain | None = None,
    trainer: Mapping[str, Any] = {},
    evaluate: bool = True,
    keep_weights: bool = False,
) -> Result:
    """Train ``run`` in this process; rows go to ``record``, news to ``emit``.

    The record has begun; its result is returned, not yet written. Where the record has a
    checkpoint, training goes on from it.

    Args:
        domain: by default the installed one of the task's name.
        trainer: arguments of Lightning's Trainer in place of what runs are trained with.
        evaluate: whether to measure, at the end, what is worth its time only once.
        keep_weights: leave the weights at the end in the record's folder.

    Raises:
        JobStopped: SIGTERM came; a checkpoint holds what was trained.
        CannotWrite: the record takes no more rows.
    """
    binding = bind()
    with Stop() as stop, record.lock():
        checkpoints = Checkpoints(record, stop, checkpoint_every_s)
        domain = domain or discover().domain(run.task.domain)
        result = _run(run, domain, record, emit, checkpoints, trainer, evaluate, keep_weights)
        return replace(result, facts={**result.facts, "binding": binding})


def _run(
    run: Run,
    domain: Domain,
    record: Record,
    emit: Emit,
    checkpoints: Checkpoints,
    changes: Mapping[str, Any],
    evaluate: bool,
    keep_weights: bool,
) -> Result:
    started = time.time()
    task = as_read(run.task, domain)
    data, module, norms = build(replace(run, task=task), domain)
    trace = Trace(task, module, domain.metric, record, emit)
    watch = Watch(task, trace)
    listeners = [watch, checkpoints]
    trainer = make_trainer(task, domain.training(task), trace, listeners, changes)
    weights = weights_digest(module, norms)
    reason = ""
    once: dict[str, float] = {}
    missing: dict[str, str] = {}
    try:
        done = checkpoints.find()
        if done is None:
            trainer.validate(module, datamodule=data, verbose=False)
        else:
            emit({"event": "resumed", "step": done})
        seed_all(task.seed, verbose=False)
        checkpoint = None if done is None else record.checkpoint_path
        with checkpoints.streaming(data, task.steps, watch.waited):
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        trace_crashes()
        if keep_weights:  # before the domain's own evaluation, which may do as it likes
            write_weights(module, record)
        if evaluate:
            module.to(trainer.strategy.root_device).eval()  # fitting ends on the CPU
            once, missing = evaluation.evaluate(task, domain, module, data, record)
    except Diverged as divergence:
        reason = str(divergence)
    facts = {"resumed": ", ".join(map(str, checkpoints.resumed))} if checkpoints.resumed else {}
    return Result(
        status="diverged" if reason else "finished",
        reason=reason,
        started=started,
        ended=time.time(),
        first=trace.first,
        best=trace.best,
        last=trace.last,
        summary={
            "model/parameters": sum(parameter.numel() for parameter in module.parameters()),
            "model/norms_replaced": len(norms) - _native_norms(module, norms),
            "memory/peak_mib": peak_memory_mib(module.device),
            **watch.summary(),
            **once,
        },
        facts={
            "weights": weights,
            "batches": watch.batches.hex()[:12],
            "device": _device_name(module.device),
            "threads": str(torch.get_num_threads()),
            **facts,
            **missing,
        },
        alpha=alphas(module),
        saturation=watch.saturation,
    )


def time_task(
    task: Task, variants: list[Variant], *, rounds: int, domain: Domain | None = None
) -> dict[str, list[float]]:
    """Training steps of a task's variants in turn: variant label -> seconds of a step, by round.

    The first variant is timed once more under the name "A/A": how far the two differ is what this
    machine makes of no difference at all. ``domain`` is by default the installed one.
    """
    bind()
    domain = domain or discover().domain(task.domain)
    task = as_read(task, domain)
    steps: dict[str, Callable[[], float]] = {}
    for variant in variants:
        for label in (variant.label,) if steps else (variant.label, AA):
            # A/A is built anew, too: copies of one model differ in where they lie in memory.
            data, module, _ = build(Run(task=task, variant=variant), domain)
            steps[label] = _stepper(module, data, domain.training(task))
    interleave(steps, rounds=2)  # warm up
    return interleave(steps, rounds=rounds)


def build(run: Run, domain: Domain) -> tuple[LightningDataModule, LightningModule, list[str]]:
    """Data, module with the run's variant in place, and the names of the norms it concerns.

    Seeding before the module is built, and swapping afterwards, gives every variant of a task
    the same other weights, but for those that a recipe starts otherwise.
    """
    task, variant = run.task, run.variant
    seed_all(task.seed, workers=True, verbose=False)
    data = domain.build_data(task)
    seed_all(task.seed, verbose=False)
    module = domain.build_module(task, data)
    exclude = domain.models[task.model].exclude
    sites = dyt.select(module, exclude=exclude)
    if not variant.is_native:
        recipe = RECIPES.load(variant.recipe) if variant.recipe else None
        alpha = variant.alpha_init_value
        to = VARIANTS.load(variant.name)
        dyt.convert(module, to, exclude=exclude, alpha_init_value=alpha, recipe=recipe)
        if getattr(recipe, "calibrated", False):
            _calibrate(module, data)
    return data, module, [site.name for site in sites]


def _calibrate(module: LightningModule, data: LightningDataModule) -> None:
    """Start the layers by the first training batch, which training then sees as well."""
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    module.log = discard  # type: ignore[method-assign]  # there is no trainer to log to

    def step(model: nn.Module, batch: Any) -> object:
        return module.training_step(batch, 0)

    try:
        dyt.calibrate(module, [batch], goal="start", run=step)
    finally:
        del module.log


def weights_digest(module: nn.Module, norms: list[str]) -> str:
    """A hash of all weights but the norms' and a recipe's: equal for every variant of a task.

    A recipe that starts other weights otherwise has a hash of its own.
    """
    added = {
        f"{name}.scale" for name, m in module.named_modules() if isinstance(m, ScaledEmbedding)
    }
    total = hashlib.sha256()
    for name, value in module.state_dict().items():
        if name not in added and name.rpartition(".")[0] not in norms:
            total.update(name.encode())
            total.update(as_bytes(value))
    return total.hexdigest()[:12]


def _native_norms(module: nn.Module, norms: list[str]) -> int:
    """How many of ``norms`` are still there."""
    return sum(site.name in norms for site in dyt.audit(module))


def _stepper(
    module: LightningModule, data: LightningDataModule, recipe: TrainingPreset
) -> Callable[[], float]:
    """A call that trains ``module`` for one step, without a Trainer, and returns its seconds."""
    device = device_to_use()
    module.to(device).train()
    module.log = discard  # type: ignore[method-assign]  # there is no trainer to log to
    in_precision = autocast(recipe, device)
    optimizer = _optimizer(module)
    data.prepare_data()
    data.setup("fit")
    batches = islice(data.train_dataloader(), TIMED_BATCHES)
    turn = cycle([move_data_to_device(batch, device) for batch in batches])

    def step() -> float:
        batch = next(turn)
        start = now(device)
        with in_precision():
            loss = module.training_step(batch, 0)
        assert isinstance(loss, Tensor)  # the contract
        loss.backward()  # type: ignore[no-untyped-call]
        if recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(module.parameters(), recipe.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        return now(device) - start

    return step


def autocast(
    recipe: TrainingPreset, device: torch.device
) -> Callable[[], AbstractContextManager[object]]:
    """What a forward pass runs in, to be of the recipe's precision."""
    dtypes = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    if recipe.precision not in dtypes:
        return nullcontext
    return lambda: torch.autocast(device.type, dtypes[recipe.precision])


def _optimizer(module: LightningModule) -> Optimizer:
    """The optimiser alone, of the two forms the contract allows."""
    configured: Any = module.configure_optimizers()
    optimizer = configured["optimizer"] if isinstance(configured, dict) else configured
    assert isinstance(optimizer, Optimizer)
    return optimizer


def discard(*_: object, **__: object) -> None:
    pass


def bind() -> str:
    """Have layers on a CPU called by compiled code; how they are called, for the record."""
    if device_to_use().type != "cpu":
        return "not on this device"
    reason = dyt.bind()
    return f"none: {reason}" if reason else "compiled"


def device_to_use() -> torch.device:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator or torch.device("cpu")


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
