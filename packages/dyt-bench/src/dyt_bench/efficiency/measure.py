"""Times norm layers in a model, the layers alone and within a step, variant by variant.

Timed for each variant of a task, in turn: the layers at the norm sites alone, the model's forward
pass, and a training step (forward, backward, AdamW). All variants share one model and one batch;
only the layers at the norm sites change. The variant "identity" has no norms at all: no variant can
save more than it does.

Source: arXiv 2503.10622, the section on efficiency.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch import seed_everything as seed_all
from torch import Tensor, nn

import dyt
from dyt_bench.discovery.datasets import as_read
from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.extensions import VARIANTS
from dyt_bench.plugin.domain import Domain, TrainingPreset
from dyt_bench.plugin.task import AA, Task, Variant
from dyt_bench.training.build import with_logging_off
from dyt_bench.training.clock import interleave, now
from dyt_bench.training.device import autocast, bind, device_to_use
from dyt_bench.training.step import step

Part = Literal[
    "norms, inference",
    "norms, training",
    "forward",
    "step",
    "forward, compiled",
    "step, compiled",
]
PARTS: tuple[Part, ...] = ("norms, inference", "norms, training", "forward", "step")
COMPILED: tuple[Part, ...] = ("forward, compiled", "step, compiled")

Seconds = dict[str, dict[str, list[float]]]  # part -> variant label or A/A -> seconds by round


def measure(task: Task, variants: list[Variant], *, rounds: int, compile: bool = False) -> Seconds:
    """Time every part of every variant, interleaved; the first variant twice, as the noise floor.

    Args:
        variants: the first, `native`, is what the others are compared with.
        rounds: of each part; in a round every variant takes its turn.
        compile: whether to time forward and step under ``torch.compile``, too.

    Returns:
        part -> variant label, and "A/A" for the first once more -> seconds by round.
    """
    bind()
    domain = discover().domain(task.domain)
    task = as_read(task, domain)
    bench = _Bench(task, variants, domain)
    seconds: Seconds = {}
    for part in PARTS + COMPILED * compile:
        calls = {label: bench.call(part, label) for label in bench.layers}
        calls = {**calls, AA: next(iter(calls.values()))}
        interleave(calls, rounds=2)  # warm up
        seconds[part] = interleave(calls, rounds=rounds)
    return seconds


@dataclass
class _Use:
    """One call of a norm site in a forward pass."""

    site: str
    x: Tensor
    dy: Tensor


class _Bench:
    """One model, one batch, and for every variant the layers at the model's norm sites."""

    def __init__(self, task: Task, variants: list[Variant], domain: Domain) -> None:
        self.device = device_to_use()
        self.preset = domain.training(task)
        seed_all(task.seed, workers=True, verbose=False)
        data = domain.build_data(task)
        self.module = _module(task, domain, data, self.preset, self.device)
        self.autocast = autocast(self.preset, self.device)
        data.prepare_data()
        data.setup("fit")
        batch = next(iter(data.train_dataloader()))
        self.batch = move_data_to_device(batch, self.device)
        self.layers = _layers(self.module, variants, domain.models[task.model].exclude)
        parameters = {
            p: None
            for layers in self.layers.values()
            for p in (*self.module.parameters(), *_parameters(layers))
        }
        # One optimiser for all: a step moves only parameters that have a gradient.
        self.optimizer = torch.optim.AdamW(
            list(parameters), lr=1e-5, fused=self.device.type != "mps"
        )
        self.uses = self._observe()

    def call(self, part: Part, label: str) -> Callable[[], float]:
        """A function that runs one part of one variant and returns its seconds."""
        passes: Mapping[Part, Callable[[], None]] = {
            "norms, inference": self._norms_inference,
            "norms, training": self._norms_training,
            "forward": self._forward,
            "step": self._step,
            "forward, compiled": partial(self._compiled, self._forward),
            "step, compiled": partial(self._compiled, self._step),
        }
        run = passes[part]

        def timed() -> float:
            self._swap_in(label)
            start = now(self.device)
            run()
            seconds = now(self.device) - start
            for parameter in self.optimizer.param_groups[0]["params"]:
                parameter.grad = None
            for use in self.uses:
                use.x.grad = None
            return seconds

        return timed

    def _swap_in(self, label: str) -> None:
        self.here = self.layers[label]
        for name, layer in self.here.items():
            self.module.set_submodule(name, layer)

    def _norms_inference(self) -> None:
        with torch.inference_mode(), self.autocast():
            for use in self.uses:
                self.here[use.site](use.x)

    def _norms_training(self) -> None:
        with self.autocast():
            for use in self.uses:
                self.here[use.site](use.x).backward(use.dy)

    def _forward(self) -> None:
        with torch.inference_mode(), self.autocast():
            self.module.training_step(self.batch, 0)

    def _step(self) -> None:
        step(self.module, self.batch, self.optimizer, self.preset, self.autocast)

    @cached_property
    def compiled(self) -> Callable[..., Any]:
        """The training step, compiled; made where a part needs it, for the compiler loads slowly.

        Guards tell whose layers are in place: one entry a variant and mode, and some to spare.
        """
        torch._dynamo.config.recompile_limit = 8 + 2 * len(self.layers)
        return torch.compile(self.module.training_step)

    def _compiled(self, run: Callable[[], None]) -> None:
        """Run it with the training step compiled, once for each variant's layers."""
        eager = self.module.training_step
        setattr(self.module, "training_step", self.compiled)  # noqa: B010
        try:
            run()
        finally:
            setattr(self.module, "training_step", eager)  # noqa: B010

    def _observe(self) -> list[_Use]:
        """Random inputs with the shapes and types that the sites get, in order of their calls."""
        uses: list[_Use] = []
        native = next(iter(self.layers.values()))
        handles = []
        for name, layer in native.items():

            def note(_: nn.Module, inputs: Any, output: Tensor, name: str = name) -> None:
                x = torch.randn_like(inputs[0]).requires_grad_()
                uses.append(_Use(name, x, torch.randn_like(output)))

            handles.append(layer.register_forward_hook(note))
        with torch.no_grad(), self.autocast():
            self.module.training_step(self.batch, 0)
        for handle in handles:
            handle.remove()
        return uses


def _module(
    task: Task,
    domain: Domain,
    data: LightningDataModule,
    preset: TrainingPreset,
    device: torch.device,
) -> LightningModule:
    """The native model, built on its device: large models need not fit into the host's memory."""
    with _default_dtype(torch.bfloat16 if preset.precision == "bf16-true" else torch.float32):
        with torch.device(device):
            module = domain.build_module(task, data)
        module.to(device).train()
    with_logging_off(module)
    return module


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _layers(
    module: LightningModule, variants: list[Variant], exclude: tuple[str, ...]
) -> dict[str, dict[str, nn.Module]]:
    """Variant label -> name of a site -> the layer that stands there; the module stays native."""
    names = [site.name for site in dyt.select(module, exclude=exclude)]
    layers = {}
    for variant in variants:
        if not variant.is_native:
            to, alpha = VARIANTS.load(variant.name), variant.alpha_init_value
            dyt.convert(module, to, exclude=exclude, alpha_init_value=alpha)
        layers[variant.label] = {name: module.get_submodule(name) for name in names}
        if not variant.is_native:
            dyt.revert(module)
    return layers


def _parameters(layers: Mapping[str, nn.Module]) -> Iterator[nn.Parameter]:
    for layer in layers.values():
        yield from layer.parameters()
