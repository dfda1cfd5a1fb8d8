"""Training that was cut off goes on to the bit: where its batches come from, and what is kept.

Between two batches all of a step is done: the weights and the schedule have moved, the row is
written, a validation that was due is over. So the stream of batches is the place where a
checkpoint is taken, where training stops when it is told to, and where it goes on.
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
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from dyt_bench.errors import CannotWrite
from dyt_bench.plugin.atomic import replacing
from dyt_bench.plugin.data import ShuffledBatches
from dyt_bench.training.outcome import CHECKPOINT_EVERY_S, Recorder, Stopped

# The next checkpoint waits so many times longer than the last one took: they cost 2 % at most.
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
        recorder: whose checkpoint it is; the number of its rows is a part of it.
        every_s: seconds between two checkpoints, or more where they take long; 0 takes one
            after each step, whatever it costs.
    """

    def __init__(self, recorder: Recorder, stop: Stop, every_s: float = CHECKPOINT_EVERY_S) -> None:
        self.recorder, self.stop, self.every_s = recorder, stop, every_s
        self.done = 0  # optimiser steps
        self.resumed: list[int] = []  # the steps after which training was resumed
        self._random: dict[str, Any] | None = None  # states to set before the next batch
        self._cost_s = 0.0
        self._last = time.monotonic()

    def find(self) -> int | None:
        """The step after which the recorder's checkpoint resumes; None if it has none to use.

        Either way the recorder expects the rows that will follow.
        """
        try:
            # Mapped, as most of it is not looked at here.
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
        self, data: LightningDataModule, steps: int, waited: list[float]
    ) -> Iterator[None]:
        """Let ``data`` serve ``steps`` batches as one epoch, from where training stands.

        How many seconds each batch took to make is added to ``waited``.
        """
        serve = data.train_dataloader

        def stream() -> _Stream:
            return _Stream(self, serve(), steps, waited)

        data.train_dataloader = stream  # type: ignore[method-assign]
        try:
            yield
        finally:
            del data.train_dataloader

    def between(self) -> None:
        """Called when a step is done and the next batch not yet made.

        Raises:
            Stopped: it was asked for; a checkpoint is there.
        """
        if self._random is not None:
            _set_random_states(self._random)
            self._random = None
        elif self.done and (self.stop.asked or self._is_due()):
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
            # Training may well end without one. The log may have no room either.
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
        # Lightning's own would end training between a step and its checkpoint.
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
        if not self.done:  # nothing is trained yet that a checkpoint could keep
            self._refuse()

    def state_dict(self) -> dict[str, Any]:
        return {
            "done": self.done,
            "rows": self.recorder.appended,
            "resumed": self.resumed,
            "random": _random_states(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.done = state_dict["done"]
        self.resumed = [*state_dict["resumed"], self.done]
        self._random = state_dict["random"]

    def on_save_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # What a module was built with may be objects of any class; it is built anew, not loaded.
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
    """What Lightning takes for one epoch: all batches of a run's budget."""

    def __init__(
        self, checkpoints: Checkpoints, loader: Iterable[Any], steps: int, waited: list[float]
    ) -> None:
        self.checkpoints, self.loader, self.steps, self.waited = checkpoints, loader, steps, waited

    def __len__(self) -> int:
        return self.steps

    # Lightning wants these of what can go on in the middle; the place itself is the callback's.

    def state_dict(self) -> dict[str, Any]:
        return {"done": self.checkpoints.done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        assert state_dict["done"] == self.checkpoints.done

    def __iter__(self) -> Iterator[Any]:
        done = self.checkpoints.done
        batches = _without(done, self.loader)
        for _ in range(done, self.steps):
            self.checkpoints.between()
            start = time.perf_counter()
            batch = next(batches)
            self.waited.append(time.perf_counter() - start)
            yield batch


def _without(first: int, loader: Iterable[Any]) -> Iterator[Any]:
    """Batches of ``loader``, epoch after epoch, but for the ``first``."""
    sampler = getattr(loader, "batch_sampler", None)
    batches = _epochs(loader)
    if isinstance(sampler, ShuffledBatches):
        sampler.seek(*divmod(first, len(sampler)))
    else:  # whatever its order is, by the contract the seed alone decides it: make them again
        for _ in range(first):
            next(batches)
    return batches


def _epochs(loader: Iterable[Any]) -> Iterator[Any]:
    while True:
        batch = None
        for batch in loader:
            yield batch
        if batch is None:
            raise ValueError("train_dataloader() gives no batch")


def _random_states() -> dict[str, Any]:
    """The states of every global generator, as plain values and tensors."""
    version, words, gauss = random.getstate()
    name, keys, *rest = cast("tuple[Any, ...]", np.random.get_state(legacy=True))
    states = {
        "python": [version, list(words), gauss],
        "numpy": [name, keys.tolist(), *rest],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def _set_random_states(states: dict[str, Any]) -> None:
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])


def trace_crashes() -> None:
    """Have a crash's traceback printed again, if it was.

    A Trainer that has done resets every signal to the handler that Python knows of, and so
    forgets faulthandler's.
    """
    if faulthandler.is_enabled():
        faulthandler.disable()
        faulthandler.enable(2)
