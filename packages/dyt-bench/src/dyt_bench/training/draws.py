"""What a training step draws at random: each sample its own, however the batch is divided."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.autograd.graph import _engine_run_backward
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from dyt_bench.plugin.data import SeededDataModule
from dyt_bench.plugin.noise import places, places_of_step

Arguments = Sequence[Any]
Options = Mapping[str, Any]
Seed = Callable[[int], object]


class Draws(Callback):
    """Has what a step draws drawn by sample, forward and backward: activations may be recomputed.

    Every function of torch that a step calls takes some microseconds more for it, a sixth and more
    of a small model's step. So a model whose first step draws nothing is left alone from then on.

    Args:
        data: whose batches are divided.
    """

    def __init__(self, data: SeededDataModule) -> None:
        self.data = data
        self._drawing = ExitStack()
        self._needed: bool | None = None  # not known before a step has ended

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, index: int
    ) -> None:
        if self._needed is False:
            return
        count = self.data.part()
        total = len(places_of_step(module, count))
        self._by = self._drawing.enter_context(BySample(places(module, index, count), total))

    def on_train_batch_end(self, *_: object) -> None:
        if self._needed is None:
            self._needed = self._by.has_drawn
        self._drawing.close()

    def on_exception(self, *_: object) -> None:
        self._drawing.close()

    def state_dict(self) -> dict[str, Any]:
        """Whether the first step drew: a run that is resumed goes on as it began."""
        return {"needed": self._needed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._needed = state_dict["needed"]


class BySample(TorchFunctionMode):
    """Dropout, dropped paths and other noise of each sample depend on its place in the step.

    Functions that draw for a tensor whose first dimension holds the samples, ``k`` rows for each,
    are called sample by sample, each with a seed by the next number of torch's global generator
    and the sample's place. That generator is to be the same for every part of a step, so that
    single numbers, as for a layer that is dropped for all, are the same as well. What is drawn for
    tensors of other shapes differs from part to part.

    Where a sample has few numbers, all samples of the step are drawn for at once, and each part
    takes its own.

    Args:
        at: places in the step of the samples that go through the model.
        total: samples of the step.
    """

    def __init__(self, at: range, total: int) -> None:
        super().__init__()
        self.at = at
        self.total = total
        self.has_drawn = False

    def __torch_function__(
        self, func: Any, types: Any, args: Arguments = (), kwargs: Options | None = None
    ) -> Any:
        options = {name: x for name, x in (kwargs or {}).items() if name != "generator" or x}
        if func is Tensor.backward and options.get("inputs") is None:
            return self._backward(*args, **options)
        draws = _DRAWS.get(func)
        if draws is None or "generator" in options or not draws(args, options):
            return func(*args, **options)
        self.has_drawn = True
        if func not in _FACTORIES or (func is torch.normal and _has_tensor(args, options)):
            return self._drawn(func, args, options)
        made, fill, bounds = _FACTORIES[func](args, options)
        with torch.no_grad():
            self._drawn(fill, (made, *bounds), {})
        return made

    def _backward(
        self,
        tensor: Tensor,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: None = None,
    ) -> None:
        # A function is called without the mode, which what backward computes again needs. So not
        # torch.autograd.backward, which is one itself, but what that calls.
        start = torch.ones_like(tensor) if gradient is None else gradient
        keeps = create_graph if retain_graph is None else retain_graph
        with self:
            _engine_run_backward(
                (tensor,),
                (start,),
                keeps,
                create_graph,
                (),
                allow_unreachable=True,
                accumulate_grad=True,
            )

    def _drawn(self, func: Callable[..., Tensor], args: Arguments, options: Options) -> Tensor:
        """What ``func`` gives for each sample, one after the other."""
        tensor = next(x for x in (*args, *options.values()) if isinstance(x, Tensor))
        if tensor.dim() < 2 and tensor.numel() < 2:
            return func(*args, **options)
        first = int(torch.randint(2**32, ()))
        sequence = np.random.SeedSequence([first])
        seeds = sequence.generate_state(self.at.stop)[self.at.start :].tolist()
        with _seeding(tensor.device) as seed:
            if len(tensor) % len(seeds) or not _are_apart(func, tensor, options):
                seed(seeds[0])
                return func(*args, **options)
            alone = not _has_tensor(args[1:], options)
            if func in _FILLS and alone and tensor.numel() <= _FEW * len(tensor):
                seed(first)
                return self._share(func, args, options)
            made = []
            for number, own in enumerate(seeds):
                seed(own)
                made.append(_of(func, args, options, tensor, number, len(tensor) // len(seeds)))
        return tensor if func in _FILLS else torch.cat(made)

    def _share(self, func: Callable[..., Tensor], args: Arguments, options: Options) -> Tensor:
        """The tensor, filled with these samples' part of what is drawn for all of the step."""
        tensor, *others = args
        rows = len(tensor) // len(self.at)
        whole = tensor.new_empty((self.total * rows, *tensor.shape[1:]))
        func(whole, *others, **options)
        made: Tensor = tensor.copy_(whole.narrow(0, self.at.start * rows, len(tensor)))
        return made


def _of(
    func: Callable[..., Tensor],
    args: Arguments,
    options: Options,
    tensor: Tensor,
    number: int,
    rows: int,
) -> Tensor:
    """``func`` of sample ``number``: its ``rows`` of ``tensor``, and of what is shaped like it."""

    def cut(value: Any) -> Any:
        is_alike = (
            isinstance(value, Tensor) and value.dim() == tensor.dim() and len(value) == len(tensor)
        )
        return value.narrow(0, number * rows, rows) if is_alike else value

    return func(*map(cut, args), **{name: cut(value) for name, value in options.items()})


@contextmanager
def _seeding(device: torch.device) -> Iterator[Seed]:
    """A function that seeds what ``device`` draws by; afterwards its state is what it was."""
    if device.type == "cpu":
        source = torch.default_generator
        state = source.get_state()
        try:
            yield source.manual_seed
        finally:
            source.set_state(state)
        return
    module = torch.get_device_module(device)
    state = module.get_rng_state()
    try:
        yield module.manual_seed
    finally:
        module.set_rng_state(state)


def _are_apart(func: Any, tensor: Tensor, options: Options) -> bool:
    """Whether what ``func`` gives for a row of ``tensor`` depends on no other row."""
    least = _ROWS.get(func, 1)
    is_along_rows = options.get("dim") in (0, -tensor.dim())
    return least is not None and tensor.dim() >= least and not is_along_rows


def _has_tensor(args: Arguments, options: Options) -> bool:
    return any(isinstance(x, Tensor) for x in (*args, *options.values()))


def _always(args: Arguments, options: Options) -> bool:
    return True


def _in_training(args: Arguments, options: Options) -> bool:
    """Of a dropout (input, p, training)."""
    p = args[1] if len(args) > 1 else options["p"]
    training = args[2] if len(args) > 2 else options.get("training", options.get("train"))
    return bool(training and p)


def _in_attention(args: Arguments, options: Options) -> bool:
    """Of attention (query, key, value, mask, dropout_p)."""
    return bool(args[4] if len(args) > 4 else options.get("dropout_p", 0.0))


def _in_training_attention(args: Arguments, options: Options) -> bool:
    p = args[10] if len(args) > 10 else options.get("dropout_p")
    return bool(options.get("training") and p)


_FEW = 64  # numbers of a row, or less, as those that drop paths have
# In place, of a tensor whose content does not matter.
_FILLS = (
    Tensor.bernoulli_,
    Tensor.cauchy_,
    Tensor.exponential_,
    Tensor.geometric_,
    Tensor.log_normal_,
    Tensor.normal_,
    Tensor.random_,
    Tensor.uniform_,
)
# A tensor without content, what fills it, and with which arguments.
Filling = tuple[Tensor, Callable[..., Tensor], Arguments]


def _without_arguments(
    make: Callable[..., Tensor], fill: Callable[..., Tensor]
) -> Callable[[Arguments, Options], Filling]:
    return lambda args, options: (make(*args, **options), fill, ())


def _integers(args: Arguments, options: Options) -> Filling:
    """Of torch.randint([low,] high, size)."""
    found, values = dict(options), list(args)
    size = found.pop("size") if "size" in found else values.pop()
    low, high = _bounds(values, found)
    return torch.empty(size, **{"dtype": torch.long, **found}), Tensor.random_, (low, high)


def _integers_like(args: Arguments, options: Options) -> Filling:
    """Of torch.randint_like(input, [low,] high)."""
    found, values = dict(options), list(args)
    like = found.pop("input") if "input" in found else values.pop(0)
    low, high = _bounds(values, found)
    return torch.empty_like(like, **found), Tensor.random_, (low, high)


def _bounds(values: list[Any], found: dict[str, Any]) -> tuple[int, int]:
    """Take them from the end of positional arguments, or from named ones."""
    high = found.pop("high") if "high" in found else values.pop()
    low = found.pop("low") if "low" in found else (values.pop() if values else 0)
    return low, high


def _normal(args: Arguments, options: Options) -> Filling:
    """Of torch.normal(mean, std, size)."""
    found = {**dict(zip(("mean", "std", "size"), args, strict=False)), **options}
    mean, std, size = (found.pop(name) for name in ("mean", "std", "size"))
    return torch.empty(size, **found), Tensor.normal_, (mean, std)


_FACTORIES: Mapping[Any, Callable[[Arguments, Options], Filling]] = {
    torch.normal: _normal,
    torch.rand: _without_arguments(torch.empty, Tensor.uniform_),
    torch.rand_like: _without_arguments(torch.empty_like, Tensor.uniform_),
    torch.randint: _integers,
    torch.randint_like: _integers_like,
    torch.randn: _without_arguments(torch.empty, Tensor.normal_),
    torch.randn_like: _without_arguments(torch.empty_like, Tensor.normal_),
}
# Functions of rows -> the dimensions from which on the first one's are independent; None: never.
_ROWS: Mapping[Any, int | None] = {
    functional.scaled_dot_product_attention: 3,
    functional.gumbel_softmax: 2,
    functional.multi_head_attention_forward: None,
    torch.multinomial: 2,
}
_DROPOUTS = (
    functional.dropout,
    functional.dropout1d,
    functional.dropout2d,
    functional.dropout3d,
    functional.alpha_dropout,
    functional.feature_alpha_dropout,
    torch.dropout,
)
# Function -> whether a call of it draws.
_DRAWS: Mapping[Any, Callable[[Arguments, Options], bool]] = {
    **dict.fromkeys((*_FILLS, *_FACTORIES), _always),
    **dict.fromkeys((torch.bernoulli, Tensor.bernoulli, torch.multinomial), _always),
    functional.gumbel_softmax: _always,
    **dict.fromkeys(_DROPOUTS, _in_training),
    functional.scaled_dot_product_attention: _in_attention,
    functional.multi_head_attention_forward: _in_training_attention,
}
