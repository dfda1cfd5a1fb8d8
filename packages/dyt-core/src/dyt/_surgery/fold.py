"""Fold weight and bias of point-wise layers into the linear layers that follow, for inference."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from dyt._surgery.inputs import Batch, Run
from dyt.layers import PointwiseNorm

# What returns a tensor's values in another shape, or the tensor itself.
_SAME_VALUES = {
    *(Tensor.view, Tensor.reshape, Tensor.flatten, Tensor.contiguous, Tensor.unsqueeze),
    *(Tensor.squeeze, Tensor.expand, Tensor.to, Tensor.type_as, Tensor.float, Tensor.detach),
    *(torch.reshape, torch.flatten, torch.unsqueeze, torch.squeeze, Tensor.__getitem__),
}


@dataclass(frozen=True)
class Folding:
    """What `fold` did."""

    folded: Mapping[str, tuple[str, ...]]  # layer -> the linear layers that took its weight
    left: Mapping[str, str]  # layer -> why it keeps its weight

    def __str__(self) -> str:
        lines = [f"{name}: into {', '.join(into)}" for name, into in self.folded.items()]
        return "\n".join([*lines, *(f"{name}: left: {why}" for name, why in self.left.items())])


def fold(model: nn.Module, batch: Any, *, run: Run | None = None) -> Folding:
    """Move weight and bias of each point-wise layer into the linear layers that read its output.

    ``W (w * f(z) + b) + c = (W diag(w)) f(z) + (W b + c)``: what is left of the layer is
    ``f(alpha * x + shift)``, whose output lies in a known range, [-1, 1] for tanh. The model then
    computes the same up to rounding. It is changed in place, for inference: fold last, and save the
    model before.

    Args:
        model: a converted model, or one that was built with point-wise layers.
        batch: one batch, as `dyt.calibrate` takes it. It is run once, in eval mode and without
            gradients, to see what reads each layer's output.
        run: how to run the model on it, as for `dyt.calibrate`.

    Returns:
        Which layers were folded into which linear layers (``nn.Linear``, or the ``Conv1D`` of
        GPT-2), and why others were not: something else reads the output too, as a residual
        connection does, or one of the linear layers has other inputs, or a tied weight.

    Raises:
        ValueError: the model has no point-wise layer with a weight, or does not take the batch.

    Example:
        >>> import torch, dyt
        >>> model = torch.nn.Sequential(dyt.DynamicTanh(8), torch.nn.Linear(8, 2))
        >>> dyt.fold(model, torch.randn(4, 8)).folded
        {'0': ('1',)}
        >>> model[0].weight is None
        True
    """
    layers = {
        module: name
        for name, module in model.named_modules()
        if isinstance(module, PointwiseNorm) and module.weight is not None
    }
    if not layers:
        raise ValueError(f"{type(model).__name__} has no point-wise layer with a weight to fold")
    reads = _Reads(model, layers)
    with reads.watching():
        Batch(0, batch, None).run(model, None if run is None else reads.returning(run))
    left = {name: why for m, name in layers.items() if (why := reads.why_not(m))}
    folded: dict[str, tuple[str, ...]] = {}
    for layer, name in layers.items():
        if name not in left:
            into = reads.linears[layer]
            _fold(layer, into)
            folded[name] = tuple(reads.names[linear] for linear in into)
    return Folding(folded, left)


def _fold(layer: PointwiseNorm, linears: Mapping[nn.Module, None]) -> None:
    assert layer.weight is not None
    scale = layer.weight.detach().double()
    offset = None if layer.bias is None else layer.bias.detach().double()
    for linear in linears:
        weight = linear.weight
        assert isinstance(weight, nn.Parameter)
        values = weight.detach().double()
        values = values if isinstance(linear, nn.Linear) else values.T  # Conv1D's is [in, out]
        if offset is not None:
            _add_to_bias(linear, values @ offset, weight)
        values = values * scale
        with torch.no_grad():
            weight.copy_(values if isinstance(linear, nn.Linear) else values.T)
    layer.weight = layer.bias = None


def _add_to_bias(linear: nn.Module, added: Tensor, weight: nn.Parameter) -> None:
    if linear.bias is None:
        linear.bias = nn.Parameter(added.to(weight), weight.requires_grad)
        return
    bias = linear.bias
    assert isinstance(bias, nn.Parameter)
    with torch.no_grad():
        bias.copy_(bias.double() + added)


@dataclass
class _Output:
    """A tensor with a layer's output, which is kept so that no other takes its place in memory."""

    tensor: Tensor
    layer: PointwiseNorm


@dataclass(eq=False)
class _Reads(TorchFunctionMode):
    """Sees what reads the outputs of point-wise layers in a pass."""

    model: nn.Module
    layers: Mapping[PointwiseNorm, str]
    outputs: dict[int, _Output] = field(default_factory=dict)  # by id of the tensor
    others: dict[PointwiseNorm, str] = field(default_factory=dict)  # what else reads it
    linears: dict[PointwiseNorm, dict[nn.Module, None]] = field(default_factory=dict)
    mixed: set[nn.Module] = field(default_factory=set)  # linear layers with other inputs too

    def __post_init__(self) -> None:
        super().__init__()
        self.names: dict[nn.Module, str] = {}
        self.owners: dict[int, nn.Module] = {}  # id of a weight -> its linear layer
        counts: dict[int, int] = {}
        for name, module in self.model.named_modules():
            self.names[module] = name
            for parameter in module.parameters(recurse=False):
                counts[id(parameter)] = counts.get(id(parameter), 0) + 1
            if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D":
                self.owners[id(module.weight)] = module
        self.tied = {key for key, count in counts.items() if count > 1}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within it the model is in eval mode, makes no gradients, and is watched."""
        training = [module for module in self.model.modules() if module.training]
        with ExitStack() as stack:
            for layer in self.layers:
                hook = layer.register_forward_hook(partial(self._made, layer))
                stack.callback(hook.remove)
            stack.callback(self.model.register_forward_hook(self._returned).remove)
            self.model.eval()
            stack.callback(_set_training, training)
            stack.enter_context(torch.no_grad())
            stack.enter_context(self)
            yield

    def returning(self, run: Run) -> Run:
        """The same, noting what it returns."""

        def noting(model: nn.Module, batch: Any) -> object:
            made = run(model, batch)
            self._returned(model, None, made)
            return made

        return noting

    def _returned(self, model: nn.Module, given: Any, made: object) -> None:
        for one in _tensors(made):
            if id(one) in self.outputs:
                self.others.setdefault(self.outputs[id(one)].layer, "who calls the model")

    def _made(self, layer: PointwiseNorm, module: nn.Module, given: Any, output: Tensor) -> None:
        self.outputs[id(output)] = _Output(output, layer)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if not isinstance(made, Tensor | tuple | list) or isinstance(made, torch.Size):
            return made  # a shape, a dtype: no value is read
        given = (*args, *(kwargs or {}).values())
        read = [self.outputs[id(one)] for one in given if id(one) in self.outputs]
        linear = self._linear(func, given)
        if linear is not None and not read:
            self.mixed.add(linear)
        for output in read:
            self._note(func, made, output, linear)
        return made

    def _linear(self, func: Any, given: tuple[Any, ...]) -> nn.Module | None:
        if func not in (nn.functional.linear, torch.addmm):
            return None
        return next((self.owners[id(one)] for one in given if id(one) in self.owners), None)

    def _note(self, func: Any, made: Any, output: _Output, linear: nn.Module | None) -> None:
        if linear is not None:
            self.linears.setdefault(output.layer, {})[linear] = None
            return
        same = func in _SAME_VALUES or _is_idle_dropout(func, made, output.tensor)
        if same and isinstance(made, Tensor) and made.shape[-1:] == output.tensor.shape[-1:]:
            self.outputs[id(made)] = _Output(made, output.layer)
            return
        self.others.setdefault(output.layer, resolve_name(func) or str(func))

    def why_not(self, layer: PointwiseNorm) -> str | None:
        """Why the layer cannot be folded; None if it can."""
        if len(layer.normalized_shape) != 1 or not layer.channels_last:
            return "its weight is not of the last axis alone"
        if layer in self.others:
            return f"its output is read by {self.others[layer]} too"
        into = self.linears.get(layer, {})
        if not into:
            return "no linear layer reads its output"
        for linear in into:
            name = self.names[linear]
            if id(linear.weight) in self.tied:
                return f"{name} has a weight that another module shares"
            if linear in self.mixed or any(
                linear in own for other, own in self.linears.items() if other is not layer
            ):
                return f"{name} has other inputs too"
        return None


def _tensors(made: object) -> Iterator[Tensor]:
    """Every tensor in nested mappings, lists, tuples and attributes."""
    if isinstance(made, Tensor):
        yield made
    elif isinstance(made, Mapping):
        for value in made.values():
            yield from _tensors(value)
    elif isinstance(made, list | tuple):
        for value in made:
            yield from _tensors(value)
    elif hasattr(made, "__dict__"):
        yield from _tensors(vars(made))


def _set_training(modules: Iterable[nn.Module]) -> None:
    for module in modules:
        module.training = True


def _is_idle_dropout(func: Any, made: Any, tensor: Tensor) -> bool:
    """Whether a dropout did nothing, as in eval mode."""
    return func is nn.functional.dropout and isinstance(made, Tensor) and torch.equal(made, tensor)
