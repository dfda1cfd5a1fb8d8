"""Checkpoints, and the stream of batches: training that was cut off resumes bit by bit.

Between two batches a step is complete: weights and schedule have moved, the row is written, and a
validation that was due is over. So the stream of batches is where checkpoints are taken, where
training stops on request, and where it resumes.
"""

import faulthandler
import random
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from pickle import UnpicklingError
from types import FrameType
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from dyt_bench.errors import CannotWrite
from dyt_bench.plugin.atomic import replacing
from dyt_bench.plugin.data import order_of, place
from dyt_bench.plugin.task import Task
from dyt_bench.training.outcome import CHECKPOINT_EVERY_S, Recorder, Stopped
from dyt_bench.training.together import any_of

# The next checkpoint waits this many times as long as the last one took: at most 2 % of time.
_PATIENCE = 50


class Stop:
    """Whether SIGTERM has asked to stop. A context manager, in the main thread."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> "Stop":
        self._before = signal.signal(signal.SIGTERM, self.ask)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


class Checkpoints(Callback):
    """Keeps the last checkpoint of a run, and its place in the stream of batches.

    Args:
        recorder: where rows and the checkpoint are written; the checkpoint holds the row count.
        every_s: seconds between two checkpoints, or more where they take long; 0: one after
            each step.
    """

    def __init__(self, recorder: Recorder, stop: Stop, every_s: float = CHECKPOINT_EVERY_S) -> None:
        self.recorder, self.stop, self.every_s = recorder, stop, every_s
        self.done = 0  # optimiser steps
        self.resumed: list[int] = []  # the steps after which training was resumed
        self._cost_s = 0.0
        self._last = time.monotonic()

    def find(self) -> int | None:
        """The step after which the recorder's checkpoint resumes; None if there is no usable one.

        The recorder is set to expect the rows that follow.
        """
        try:
            # Memory-mapped: most of it is not read here.
            saved = torch.load(
                self.recorder.checkpoint_path, map_location="cpu", weights_only=True, mmap=True
            )
            own = saved["callbacks"][self.state_key]
        except FileNotFoundError:
            own = None
        except (UnpicklingError, RuntimeError, EOFError, KeyError, OSError) as error:
            print(f"the checkpoint cannot be read, so training starts again from step 0: {error}")
            own = None
        if own is not None and self.recorder.resume(own["rows"]):
            return int(own["done"])
        self.recorder.resume(0)
        return None

    @contextmanager
    def streaming(
        self, data: LightningDataModule, task: Task, waited: list[float], parts: int = 1
    ) -> Iterator[None]:
        """Make ``data`` serve the task's batches as one epoch, starting where training stands.

        The seconds that each batch took to load are appended to ``waited``. A step's batch comes in
        so many ``parts``.
        """
        serve = data.train_dataloader

        def stream() -> _Stream:
            return _Stream(self, serve(), task, waited, parts)

        data.train_dataloader = stream  # type: ignore[method-assign]
        try:
            yield
        finally:
            del data.train_dataloader

    def between(self) -> None:
        """Called after a step and before the next batch is loaded.

        Raises:
            Stopped: on request; a checkpoint is there.
        """
        due, asked = any_of(self._is_due(), self.stop.asked)
        self.stop.asked = asked
        if self.done and (asked or due):
            self._save()
        self._refuse()

    def _is_due(self) -> bool:
        pause_s = max(self.every_s, _PATIENCE * self._cost_s) if self.every_s else 0.0
        return time.monotonic() - self._last >= pause_s

    def _save(self) -> None:
        start = time.monotonic()
        try:
            self.recorder.flush()
            self.trainer.save_checkpoint(self.recorder.checkpoint_path, weights_only=False)
        except CannotWrite as error:
            # Training can finish without one. The log may have no room either.
            with suppress(OSError):
                print(f"no checkpoint: {error}")
        self._last = time.monotonic()
        self._cost_s = self._last - start

    def _refuse(self) -> None:
        if self.stop.asked:
            raise Stopped(
                f"it was told to stop, and did after step {self.done}; "
                "the same command resumes there"
            )

    def _replace_handlers(self) -> None:
        # Lightning's handler would end training between a step and its checkpoint.
        signal.signal(signal.SIGTERM, self.stop.ask)
        trace_crashes()

    # Lightning's hooks

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.trainer = trainer
        self._replace_handlers()
        self._last = time.monotonic()

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._replace_handlers()  # Lightning sets its own between the two hooks

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._replace_handlers()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        self.done = trainer.global_step

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        module: LightningModule,
        batch: Any,
        index: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not self.done:  # there is nothing yet that a checkpoint could hold
            self._refuse()

    def state_dict(self) -> dict[str, Any]:
        return {
            "done": self.done,
            "rows": self.recorder.appended,
            "resumed": self.resumed,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.done = state_dict["done"]
        self.resumed = [*state_dict["resumed"], self.done]

    def on_save_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # A module's hyperparameters may be objects of any class; it is built again, not loaded.
        checkpoint.pop(module.CHECKPOINT_HYPER_PARAMS_KEY, None)


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all; reads tensors and plain values, no code."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        with replacing(Path(path)) as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # what torch makes of an OSError
                raise OSError(str(error)) from error

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return loaded


class _Stream:
    """All batches of a run's budget, as one epoch for Lightning."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        loader: Iterable[Any],
        task: Task,
        waited: list[float],
        parts: int,
    ) -> None:
        self.checkpoints, self.loader, self.task, self.waited = checkpoints, loader, task, waited
        self.parts = parts

    def __len__(self) -> int:
        return self.task.steps * self.parts

    # Lightning asks for these where a loader can resume; the position is the callback's state.

    def state_dict(self) -> dict[str, Any]:
        return {"done": self.checkpoints.done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        assert state_dict["done"] == self.checkpoints.done

    def __iter__(self) -> Iterator[Any]:
        done = self.checkpoints.done
        batches = _without(done, self.loader, self.parts)
        for step in range(done, self.task.steps):
            self.checkpoints.between()
            self.waited.append(0.0)
            for part in range(self.parts):
                seed_step(self.task.seed, step, place()[0] * self.parts + part)
                start = time.perf_counter()
                batch = next(batches)
                self.waited[-1] += time.perf_counter() - start
                seed_step(self.task.seed, step)  # the same for all parts, see `draws.BySample`
                yield batch


def _without(first: int, loader: Iterable[Any], parts: int) -> Iterator[Any]:
    """Batches of ``loader``, in ``parts`` each, epoch after epoch, without the ``first`` ones."""
    order = order_of(loader)
    batches = _epochs(loader)
    if order is not None:
        order.seek(*divmod(first, len(order)))
    else:  # a loader of the plug-in's own: by contract the seed alone decides its order
        for _ in range(first * parts):
            next(batches)
    return batches


def _epochs(loader: Iterable[Any]) -> Iterator[Any]:
    while True:
        batch = None
        for batch in loader:
            yield batch
        if batch is None:
            raise ValueError("train_dataloader() gives no batch")


def seed_step(seed: int, step: int, part: int = 0) -> None:
    """Seed every global generator for the training of one batch, or the loading of a part of it.

    Noise, masks and dropped paths then depend on the seed and the step alone: not on validations,
    on what a variant drew before, or on where training was cut off.
    """
    words = np.random.SeedSequence([seed, step, *([part] if part else [])]).generate_state(2)
    random.seed(int(words[0]))
    np.random.seed(words[0])
    torch.manual_seed(int(words[0]) << 32 | int(words[1]))


def trace_crashes() -> None:
    """Enable faulthandler again if it was enabled.

    After fitting, a Trainer resets every signal to the handler that Python knows, which
    disables faulthandler's.
    """
    if faulthandler.is_enabled():
        faulthandler.disable()
        faulthandler.enable(2)
