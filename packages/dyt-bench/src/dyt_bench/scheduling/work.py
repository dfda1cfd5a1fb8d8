"""What a training step computes, moves and holds, found without computing it. Needs torch.

The step runs on fake tensors, which have shapes and types and no content: a model of any size takes
no memory and seconds. Where values decide (a mask, a dropped layer) the step goes on as if half of
a mask were set and nothing were dropped.
"""

import weakref
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

import dyt
from dyt_bench.discovery.extensions import STAND_INS
from dyt_bench.discovery.resolve import resolve
from dyt_bench.plugin.parts import Parts
from dyt_bench.plugin.task import Run
from dyt_bench.scheduling.operations import Operation, is_free, nbytes, operation
from dyt_bench.training.build import with_logging_off
from dyt_bench.training.device import autocast
from dyt_bench.training.step import optimizer_of, step

aten = torch.ops.aten


@dataclass(frozen=True)
class Work:
    """One training step."""

    parameters: int
    peak: float  # bytes of tensors at a time
    state: float  # of them, those that stay: weights, gradients, optimiser, averaged weights
    operations: Mapping[Operation, int] = field(default_factory=dict)  # -> how often
    weights: float = 0.0  # bytes of them alone

    @property
    def flops(self) -> float:
        return sum(each.flops * count for each, count in self.operations.items())


def work_of(run: Run, batch_size: int | None = None) -> Work:
    """The work of what a device does at once of a run's step, or with another number of samples.

    Raises:
        Exception: the data is not there and no stand-in either, or the step cannot be faked.
    """
    parts = resolve(run)
    keeps = parts.task.batch_size > parts.task.processes * parts.task.at_once
    at_once = parts.task.at_once if batch_size is None else batch_size
    parts = replace(parts, task=replace(parts.task, batch_size=at_once))
    data, batch = _data(parts)
    with torch.device("meta"):
        module = parts.domain.build_module(parts.task, data)
    exclude = parts.domain.models[parts.task.model].exclude
    if parts.layer is not None:
        dyt.convert(
            module,
            parts.layer,
            exclude=exclude,
            alpha_init_value=parts.alpha_init_value,
            recipe=parts.recipe,
        )
    with_logging_off(module)
    return _faked(module, batch, parts, keeps or parts.task.strategy == "fsdp2")


def _data(parts: Parts) -> tuple[Any, Any]:
    """What the module is built of, and a batch: the data's own where it is there."""
    if parts.task.domain in STAND_INS.names():
        stand_in = STAND_INS.load(parts.task.domain)(parts.task, parts.domain.training(parts.task))
        return stand_in.data, stand_in.batch
    data = parts.domain.build_data(parts.task)
    data.prepare_data()
    data.setup("fit")
    return data, next(iter(data.train_dataloader()))


def _faked(module: Any, batch: Any, parts: Parts, keeps: bool) -> Work:
    """The work of a step; where it ``keeps`` gradients, it starts with those of an earlier part."""
    preset = parts.domain.training(parts.task)
    precision = autocast(preset, torch.device("cpu"))
    with FakeTensorMode(allow_non_fake_inputs=True), Count() as count:
        _place(module, torch.bfloat16 if preset.precision == "bf16-true" else None)
        module.train()
        moved = tree_map_only(Tensor, _placed, batch)
        optimizer = optimizer_of(module)
        step(module, moved, optimizer, preset, precision)  # makes the optimiser's state
        if keeps:
            with precision():
                loss = module.training_step(moved, 0)
            loss.backward()
            del loss
        count.begin()
        step(module, moved, optimizer, preset, precision)
    weights = list(module.parameters())
    size = float(sum(map(nbytes, weights)))
    own = sum(nbytes(t) for s in optimizer.state.values() for t in tree_leaves(s) if _is(t))
    averaged = size if getattr(preset, "ema_decay", None) else 0.0
    return Work(
        parameters=sum(weight.numel() for weight in weights),
        peak=count.peak + averaged,
        state=2 * size + own + averaged,
        operations=dict(count.operations),
        weights=size,
    )


class Count(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Counts operations, and the bytes of the tensors that are alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: Counter[Operation] = Counter()
        self.alive = self.peak = 0.0
        self._known: dict[int, Any] = {}

    def begin(self) -> None:
        """Forget the operations so far; tensors stay counted."""
        self.operations.clear()
        self.peak = self.alive

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default:
            try:
                return func(*args)  # where the value follows from shapes alone
            except DataDependentOutputException:
                return _assumed(args[0])
        if func is aten.index.Tensor:
            args = (args[0], _without_masks(args[1]))
        # What a library keeps beside parameters and buffers was made without content as well.
        args, kwargs = tree_map_only(Tensor, _placed, (args, kwargs))
        out = func(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if _is(leaf)]
        made = [leaf for leaf in tree_leaves(out) if _is(leaf)]
        for tensor in made:
            self._hold(tensor)
        if not is_free(func):
            self.operations[operation(func, args, kwargs, out, tensors, made)] += 1
        return out

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self.alive += size
        self.peak = max(self.peak, self.alive)
        self._known[key] = weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._known.pop(key, None)
        self.alive -= size


def _place(module: nn.Module, dtype: torch.dtype | None) -> None:
    """Put parameters and buffers where the step runs, floating-point ones as ``dtype``.

    Not `nn.Module.to_empty`, which cannot replace a tensor that anything refers to.
    """
    known: dict[int, Any] = {}
    before: list[Tensor] = [*module.parameters(), *module.buffers()]  # so that no number is reused

    def placed(tensor: Tensor) -> Tensor:
        kept = tensor.dtype if dtype is None or not tensor.is_floating_point() else dtype
        return torch.empty(tensor.shape, dtype=kept, device="cpu")

    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                own = nn.Parameter(placed(weight), weight.requires_grad)
                part._parameters[name] = known.setdefault(id(weight), own)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = known.setdefault(id(buffer), placed(buffer))
    del before


def _placed(tensor: Tensor) -> Tensor:
    """The tensor on the device that the step runs on, where it is on none."""
    if tensor.device.type != "meta":
        return tensor
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")


def _is(leaf: object) -> bool:
    return isinstance(leaf, Tensor)


def _assumed(tensor: Tensor) -> bool | int | float:
    """What a step that asks for a value is told."""
    return False if tensor.dtype == torch.bool else (1.0 if tensor.is_floating_point() else 1)


def _without_masks(indices: Any) -> list[Any]:
    """Indices of tensors, with half of each mask's places in its stead."""
    found: list[Any] = []
    for index in indices:
        if index is not None and index.dtype == torch.bool:
            places = index.new_zeros(max(1, index.numel() // 2), dtype=torch.long)
            found += [places] * index.dim()
        else:
            found.append(index)
    return found
