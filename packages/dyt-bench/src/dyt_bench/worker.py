"""Run one cell, or time one task: build, swap, train, validate, measure. Needs torch."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch import seed_everything as seed_all
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn
from torch.optim import Optimizer

import dyt
from dyt.embedding import ScaledEmbedding
from dyt.probe import alphas
from dyt_bench.cell import Cell, Norm, Task
from dyt_bench.domain import Domain, Metric, Training
from dyt_bench.measure import interleave, now, peak_memory_mib, quartiles
from dyt_bench.record import Record, Result
from dyt_bench.registry import discover, load_norm, load_recipe
from dyt_bench.statistics import AA

# The first steps pay for allocation and caches: they train, but do not count as time.
WARMUP_STEPS = 5
TIMED_BATCHES = 4  # kept in memory and taken in turn, so that loading is not timed

Emit = Callable[[dict[str, Any]], None]


class Diverged(Exception):
    """The loss of a step is not finite."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(f"the loss became {loss} at step {step}")


def run_cell(cell: Cell, record: Record, emit: Emit) -> Result:
    """Train ``cell`` in this process; rows go to ``record``, news to ``emit``.

    The record has begun; its result is returned, not yet written.
    """
    started = time.time()
    domain = discover().domain(cell.task.domain)
    data, module, norms = build(cell, domain)
    trace = _Trace(module, domain.metric, record, emit)
    watch = _Watch(cell.task)
    trainer = trainer_of(cell.task, domain.training(cell.task), trace, watch)
    weights = weights_digest(module, norms)
    reason = ""
    once: dict[str, float] = {}
    try:
        trainer.validate(module, datamodule=data, verbose=False)
        seed_all(cell.task.seed, verbose=False)
        trainer.fit(module, datamodule=data)
        once = _evaluate(cell.task, domain, module, data, record.artifacts)
    except Diverged as divergence:
        reason = str(divergence)
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
            "batches": watch.batches.hexdigest()[:12],
            "device": _device_name(module.device),
            "threads": str(torch.get_num_threads()),
        },
        alpha=alphas(module),
        saturation=watch.saturation,
    )


def _evaluate(
    task: Task, domain: Domain, module: LightningModule, data: LightningDataModule, folder: Path
) -> dict[str, float]:
    """What the domain measures once, after training, and what its trivial predictor reaches."""
    folder.mkdir(exist_ok=True)
    module.to(_device()).eval()
    metrics = domain.evaluate(task, module, data, folder)
    once = {f"eval/{name}": float(value) for name, value in metrics.items()}
    baseline = domain.baseline(task, data)
    return once if baseline is None else {**once, f"baseline/{domain.metric.name}": baseline}


def time_task(task: Task, norms: list[Norm], *, rounds: int) -> dict[str, list[float]]:
    """Training steps of a task's norms in turn: norm label -> seconds of a step, by round.

    The first norm is timed once more under the name "A/A": how far the two differ is what this
    machine makes of no difference at all.
    """
    domain = discover().domain(task.domain)
    arms: dict[str, Callable[[], float]] = {}
    for norm in norms:
        data, module, _ = build(Cell(task=task, norm=norm), domain)
        arms[norm.label] = _stepper(module, data)
        arms.setdefault(AA, arms[norm.label])
    interleave(arms, rounds=2)  # warm up
    return interleave(arms, rounds=rounds)


def build(cell: Cell, domain: Domain) -> tuple[LightningDataModule, LightningModule, list[str]]:
    """Data, module with the cell's norm in place, and the names of the norms it concerns.

    Seeding before the module is built, and swapping afterwards, gives every norm of a task
    the same other weights, but for those that a recipe starts otherwise.
    """
    task, norm = cell.task, cell.norm
    seed_all(task.seed, workers=True, verbose=False)
    data = domain.build_data(task)
    seed_all(task.seed, verbose=False)
    module = domain.build_module(task, data)
    exclude = domain.models[task.model].exclude
    sites = dyt.select(module, exclude=exclude)
    if not norm.is_native:
        recipe = load_recipe(norm.recipe) if norm.recipe else None
        alpha = norm.alpha_init_value
        to = load_norm(norm.name)
        dyt.convert(module, to, exclude=exclude, alpha_init_value=alpha, recipe=recipe)
        if getattr(recipe, "calibrated", False):
            _calibrate(module, data)
    return data, module, [site.name for site in sites]


def _calibrate(module: LightningModule, data: LightningDataModule) -> None:
    """Start the layers by the first training batch, which training then sees as well."""
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    module.log = _discard  # type: ignore[method-assign]  # there is no trainer to log to

    def step(model: nn.Module, batch: Any) -> object:
        return module.training_step(batch, 0)

    try:
        dyt.calibrate(module, [batch], goal="start", run=step)
    finally:
        del module.log


def weights_digest(module: nn.Module, norms: list[str]) -> str:
    """A hash of all weights but the norms', and what a recipe adds: equal for every norm of a task.

    A recipe that starts other weights otherwise has a hash of its own.
    """
    added = {
        f"{name}.scale" for name, m in module.named_modules() if isinstance(m, ScaledEmbedding)
    }
    total = hashlib.sha256()
    for name, value in module.state_dict().items():
        if name not in added and name.rpartition(".")[0] not in norms:
            total.update(name.encode())
            total.update(_bytes(value))
    return total.hexdigest()[:12]


def _native_norms(module: nn.Module, norms: list[str]) -> int:
    """How many of ``norms`` are still there."""
    return sum(site.name in norms for site in dyt.audit(module))


def trainer_of(
    task: Task, training: Training, trace: Logger | Literal[False], watch: Callback
) -> Trainer:
    """A Trainer for the task's budget and recipe, the same for every norm; quiet, on one device."""
    callbacks = [watch]
    if training.ema_decay is not None:
        callbacks.append(EMAWeightAveraging(decay=training.ema_decay, use_buffers=False))
    return Trainer(
        precision=training.precision,
        gradient_clip_val=training.clip_norm,
        max_steps=task.steps,
        val_check_interval=task.val_every,
        check_val_every_n_epoch=None,  # steps are the budget; epochs mean nothing here
        num_sanity_val_steps=0,
        log_every_n_steps=max(1, task.steps // 200),
        logger=trace,
        callbacks=callbacks,
        devices=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        deterministic=True,
        # Validating before fitting would leave inference tensors in metrics that training reuses.
        inference_mode=False,
    )


def _stepper(module: LightningModule, data: LightningDataModule) -> Callable[[], float]:
    """A call that trains ``module`` for one step, without a Trainer, and returns its seconds."""
    device = _device()
    module.to(device).train()
    module.log = _discard  # type: ignore[method-assign]  # there is no trainer to log to
    optimizer = _optimizer(module)
    data.prepare_data()
    data.setup("fit")
    batches = islice(data.train_dataloader(), TIMED_BATCHES)
    turn = cycle([move_data_to_device(batch, device) for batch in batches])

    def step() -> float:
        batch = next(turn)
        start = now(device)
        loss = module.training_step(batch, 0)
        assert isinstance(loss, Tensor)  # the contract
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        return now(device) - start

    return step


def _optimizer(module: LightningModule) -> Optimizer:
    """The optimiser alone, of the two forms the contract allows."""
    configured: Any = module.configure_optimizers()
    optimizer = configured["optimizer"] if isinstance(configured, dict) else configured
    assert isinstance(optimizer, Optimizer)
    return optimizer


def _discard(*_: object, **__: object) -> None:
    pass


def _device() -> torch.device:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator or torch.device("cpu")


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


class _Trace(Logger):
    """What the module logs: into the record, and as news; remembers the validations."""

    def __init__(self, module: LightningModule, metric: Metric, record: Record, emit: Emit) -> None:
        super().__init__()
        self.module, self.metric, self.record, self.emit = module, metric, record, emit
        self.first: dict[str, float] = {}
        self.best: dict[str, float] = {}
        self.last: dict[str, float] = {}

    @property
    def name(self) -> str:
        return "dyt-bench"

    @property
    def version(self) -> str:
        return self.record.folder.name

    def log_hyperparams(self, *_: object, **__: object) -> None:
        """The cell's parameters are in the record already."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        # Lightning numbers a validation by the batch before it; here steps are those done.
        done = self.module.global_step
        metrics = {
            key: value for key, value in metrics.items() if key != "epoch" and math.isfinite(value)
        }
        self.record.append(done, metrics)
        self.emit({"event": "row", "step": done, "metrics": metrics})
        judged = self.metric.name
        if judged in metrics:
            values = {"step": float(done), **metrics}
            self.first = self.first or values
            if not self.best or self.metric.better(values[judged], self.best[judged]):
                self.best = values
            self.last = values


class _Watch(Callback):
    """Times steps, hashes batches, stops at divergence, counts saturation at the end."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.batches = hashlib.sha256()
        self.seconds: list[float] = []  # of each step, loading left out
        self.saturation: dict[str, float] = {}  # layer -> share of its inputs
        self.waited: list[float] = []  # seconds until each batch was there
        self._start = 0.0
        self._end: float | None = None  # of the step before, if a batch followed it at once
        self._units = 0
        self._last_validation = ExitStack()
        self._probe: dyt.Probe | None = None

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, index: int
    ) -> None:
        if self._end is not None:
            self.waited.append(time.perf_counter() - self._end)
        for tensor in _tensors(batch):
            self.batches.update(_bytes(tensor))
        self._start = now(module.device)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        self.seconds.append(now(module.device) - self._start)
        loss = outputs["loss"].item()
        if not math.isfinite(loss):
            raise Diverged(trainer.global_step, loss)
        module.log("time/step_ms", self.seconds[-1] * 1e3)
        self._end = time.perf_counter()

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._units = int(module.units_per_sample) * self.task.batch_size  # type: ignore[arg-type]

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._end = None
        if trainer.global_step == self.task.steps:
            self._probe = self._last_validation.enter_context(dyt.probe(module, every=1))

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._last_validation.close()
        if self._probe is not None:
            self.saturation = self._probe.shares()

    def summary(self) -> dict[str, float]:
        """Step time in ms (median and quartiles) and units a second; empty if nothing ran."""
        timed = self.seconds[WARMUP_STEPS:] or self.seconds
        if not timed:
            return {}
        low, middle, high = quartiles(timed)
        return {
            "time/step_ms_median": middle * 1e3,
            "time/step_ms_q1": low * 1e3,
            "time/step_ms_q3": high * 1e3,
            "time/units_per_s": self._units / middle,
            "time/train_s": sum(self.seconds),
            "time/load_ms_median": quartiles(self.waited or [0.0])[1] * 1e3,
            "time/load_share": sum(self.waited) / (sum(self.waited) + sum(self.seconds)),
        }


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _tensors(batch: Any) -> Iterator[Tensor]:
    """Every tensor of a nested batch, in order."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, dict):
        for value in batch.values():
            yield from _tensors(value)
    elif isinstance(batch, list | tuple):
        for value in batch:
            yield from _tensors(value)
