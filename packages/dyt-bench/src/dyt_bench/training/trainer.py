"""Lightning's Trainer for one run, and the callbacks that record it."""

import hashlib
import math
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from operator import mul
from statistics import fmean
from typing import Any, Literal

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.optim import Optimizer

import dyt
from dyt_bench.plugin.batches import as_bytes, tensors
from dyt_bench.plugin.data import ShuffledBatches, place
from dyt_bench.plugin.domain import Metric, TrainingPreset
from dyt_bench.plugin.task import Task
from dyt_bench.training.checkpoint import WholeCheckpointIO
from dyt_bench.training.clock import now, quartiles
from dyt_bench.training.outcome import Emit, Recorder
from dyt_bench.training.shard import is_sharded, strategy, whole
from dyt_bench.training.system import SystemMetrics
from dyt_bench.training.together import Joined, gathered, mean_of

# The first steps include allocation and cold caches: they are left out of step times.
WARMUP_STEPS = 5
CONTENT_STEPS = 16  # so many batches are identified by their content, the others by their samples
RECENT = 20  # steps that a run which diverges leaves behind
ROWS = 200  # about this many of training; validations have rows of their own


_OF_STEPS = {"train/learning_rate", "train/gradient_norm"}  # logged once a step already


class Diverged(Exception):
    """The loss of a step is not finite."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(f"the loss became {loss} at step {step}")


def make_trainer(
    task: Task,
    preset: TrainingPreset,
    logger: Logger | Literal[False],
    listeners: Sequence[Callback],
    parts: int = 1,
    changes: Mapping[str, Any] = {},
    skips: bool = False,
) -> Trainer:
    """A Trainer for ``task`` and its preset.

    Args:
        listeners: callbacks.
        parts: that a process's part of a batch comes in.
        changes: arguments of Lightning's Trainer.
        skips: whether a step may leave parameters without a gradient.
    """
    callbacks = list(listeners)
    if preset.ema_decay is not None:
        callbacks.append(EMAWeightAveraging(decay=preset.ema_decay, use_buffers=False))
    return Trainer(
        precision=preset.precision,
        gradient_clip_val=preset.clip_norm,
        max_steps=task.steps,
        val_check_interval=task.val_every * parts,  # which counts parts
        accumulate_grad_batches=parts,
        check_val_every_n_epoch=None,  # steps are the budget; epochs mean nothing here
        num_sanity_val_steps=0,
        log_every_n_steps=1,  # `Trace` chooses which
        logger=logger,
        callbacks=callbacks,
        **_processes(task, skips),
        plugins=[_environment(task), WholeCheckpointIO()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        deterministic=True,
        # Validating before fitting would leave inference tensors in metrics that training reuses.
        inference_mode=False,
        **changes,
    )


def _environment(task: Task) -> LightningEnvironment:
    """One process, also inside a scheduler's job; or those that were started."""
    return LightningEnvironment() if task.processes == 1 else Joined()


def _processes(task: Task, skips: bool) -> dict[str, Any]:
    if task.processes == 1:
        return {"devices": 1}
    how = strategy(task) if is_sharded(task) else DDPStrategy(find_unused_parameters=skips)
    count = {"devices": task.devices, "num_nodes": task.nodes}
    return {**count, "strategy": how, "use_distributed_sampler": False}


def _gradient_norm(module: LightningModule) -> float:
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    return float(whole(nn.utils.get_total_norm(gradients)))


class Trace(Logger):
    """A logger that writes rows to the recorder, emits events and remembers validations."""

    def __init__(
        self, task: Task, module: LightningModule, metric: Metric, recorder: Recorder, emit: Emit
    ) -> None:
        super().__init__()
        self.module, self.metric, self.recorder, self.emit = module, metric, recorder, emit
        self.system = SystemMetrics()
        self.every = max(1, task.steps // ROWS)  # steps between two rows of training
        self.first: dict[str, float] = {}
        self.best: dict[str, float] = {}
        self.last: dict[str, float] = {}
        # Of a step in parts: its means, which Lightning has of the last part alone.
        self.of_step: dict[str, float] = {}

    @property
    def name(self) -> str:
        return "dyt-bench"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *_: object, **__: object) -> None:
        """The run's parameters are in the record already."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        # Lightning numbers a validation by the batch before it; rows count steps done.
        done = self.module.global_step
        if self.module.trainer.training and done % self.every:
            return
        metrics = {
            key: value
            for key, value in (metrics | self.of_step).items()
            if key != "epoch" and math.isfinite(value)
        }
        self.of_step = {}
        self.recorder.append(done, metrics | self.system.due())
        self.emit({"event": "row", "step": done, "metrics": metrics})
        judged = self.metric.name
        if judged in metrics:
            values = {"step": float(done), **metrics}
            self.first = self.first or values
            if not self.best or self.metric.better(values[judged], self.best[judged]):
                self.best = values
            self.last = values


def contents(batch: Any) -> list[bytes]:
    """A hash of each sample's tensors; of a batch that is not divided into samples, one of all."""
    found = [as_bytes(tensor).reshape(len(tensor), -1) for tensor in tensors(batch) if tensor.dim()]
    if len({len(each) for each in found}) != 1:
        found = [as_bytes(tensor).reshape(1, -1) for tensor in tensors(batch)]
    hashes = []
    for parts in zip(*found, strict=False):
        total = hashlib.sha256()
        for part in parts:
            total.update(part)
        hashes.append(total.digest())
    return hashes


def shares(probe: dyt.Probe) -> dict[str, float]:
    """Layer -> share of its inputs that are saturated, over all processes."""
    own = probe.shares()
    if place()[1] == 1:
        return own
    counts = [float(probe.sites[name].values) for name in own]
    saturated = mean_of([share * n for share, n in zip(own.values(), counts, strict=True)])
    pairs = zip(saturated, mean_of(counts), strict=True)
    return dict(zip(own, (part / count for part, count in pairs), strict=True))


def weighted(values: Sequence[Sequence[float]], counts: Sequence[float]) -> list[float]:
    """Of each kind of values, one a part of a step, the mean over all processes' parts."""
    own = (sum(map(mul, each, counts)) for each in values)
    total, *sums = mean_of([sum(counts), *own])
    return [each / total if total else math.nan for each in sums]


class Watch(Callback):
    """Times steps, identifies batches, stops at divergence; follows rate, gradient and alpha.

    It also tells layers that change while the model trains how far it is.

    Args:
        order: the training batches' samples, where `ShuffledBatches` draws them.
    """

    def __init__(self, task: Task, trace: Trace, order: ShuffledBatches | None = None) -> None:
        self.task, self.trace, self.order = task, trace, order
        self.batches = b""  # hash of all batches so far, chained
        self.seconds: list[float] = []  # of each step, without loading
        self.saturation: dict[str, float] = {}  # layer -> share of its inputs
        self.waited: list[float] = []  # seconds that each batch took to load
        self.recent: deque[dict[str, float]] = deque(maxlen=RECENT)  # steps, the last one last
        self._start = 0.0
        self._units = 0
        # Of the step's parts so far:
        self._contents: list[bytes] = []
        self._losses: list[float] = []
        self._counts: list[float] = []  # of values that each loss is a mean over
        self._logged: dict[str, list[float]] = {}
        self._validation = ExitStack()
        self._probe: dyt.Probe | None = None

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, index: int
    ) -> None:
        step = trainer.global_step
        # Of the first batches the content as well: it shows what is done to the samples.
        if self.order is None or step < CONTENT_STEPS:
            self._contents += contents(batch)
        if index % trainer.accumulate_grad_batches == 0:
            dyt.set_progress(module, min(1.0, step / self.task.steps))
            self._start = now(module.device)

    def _identify(self, step: int) -> None:
        """Add a step's batch, of all processes, to the chain."""
        chain = hashlib.sha256(self.batches)
        if self.order is not None:
            chain.update(self.order.indices(step).tobytes())
        if self._contents:
            for content in gathered(self._contents):
                chain.update(content)
            self._contents = []
        self.batches = chain.digest()

    def on_before_optimizer_step(
        self, trainer: Trainer, module: LightningModule, optimizer: Optimizer
    ) -> None:
        step = {"step": trainer.global_step + 1, "rate": optimizer.param_groups[0]["lr"]}
        if step["step"] % self.trace.every == 0:
            step["gradient_norm"] = _gradient_norm(module)
        self.recent.append(step)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        parts = trainer.accumulate_grad_batches
        self._losses.append(outputs["loss"].item())
        count = getattr(module, "loss_count", None)
        self._counts.append(1.0 if count is None else float(count))
        logged = trainer.callback_metrics if parts > 1 or trainer.world_size > 1 else {}
        for name, value in logged.items():
            if name.startswith("train/") and name not in _OF_STEPS:
                self._logged.setdefault(name, []).append(float(value))
        if (index + 1) % parts:
            return
        self.seconds.append(now(module.device) - self._start)
        self._identify(trainer.global_step - 1)
        loss, *means = weighted([self._losses, *self._logged.values()], self._counts)
        self.trace.of_step = dict(zip(self._logged, means, strict=True))
        self._losses, self._counts, self._logged = [], [], {}
        self.recent[-1]["loss"] = loss
        if not math.isfinite(loss):
            raise Diverged(trainer.global_step, loss)
        if trainer.global_step % self.trace.every:
            return  # the row would be dropped
        module.log("time/step_ms", self.seconds[-1] * 1e3)
        module.log("train/learning_rate", self.recent[-1]["rate"])
        module.log("train/gradient_norm", self.recent[-1]["gradient_norm"])
        if alphas := dyt.alphas(module):
            module.log("alpha/mean", fmean(alphas.values()))

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._units = int(module.units_per_sample) * self.task.batch_size  # type: ignore[arg-type]

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._probe = self._validation.enter_context(dyt.probe(module, every=1))

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert self._probe is not None
        self._validation.close()
        self.saturation = shares(self._probe)
        if self.saturation:
            mean = fmean(self.saturation.values())
            module.log("saturation/mean", mean, sync_dist=True)  # which is the same everywhere
        for layer, alpha in dyt.alphas(module).items():
            module.log(f"alpha/{layer}", alpha, sync_dist=True)

    def state_dict(self) -> dict[str, Any]:
        trace = self.trace
        return {
            "batches": self.batches.hex(),
            "seconds": torch.tensor(self.seconds, dtype=torch.float64),
            "waited": torch.tensor(self.waited, dtype=torch.float64),
            "recent": list(self.recent),
            "validations": [trace.first, trace.best, trace.last],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.batches = bytes.fromhex(state_dict["batches"])
        self.seconds[:] = state_dict["seconds"].tolist()
        self.waited[:] = state_dict["waited"].tolist()
        self.recent.extend(state_dict["recent"])
        self.trace.first, self.trace.best, self.trace.last = state_dict["validations"]

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
