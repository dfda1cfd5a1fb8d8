"""Save a converted model with its plan, by the libraries' own calls too."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dyt._surgery.placing import is_put_in
from dyt._surgery.plan import Plan, plan_of

PLAN = "dyt.json"
WEIGHTS = "model.safetensors"
ENTRY = "dyt"  # of a transformers config, which holds the plan
# An entry of converted checkpoints, without values: who loads them without the plan reads its name.
MARK = "converted_by_dyt.load_with_dyt.load"

_BASES = {"transformers": "PreTrainedModel", "diffusers": "ModelMixin"}


def save(model: nn.Module, folder: str | PathLike[str], **options: Any) -> None:
    """Write a converted model, so that `load` gives the same, bit for bit.

    Args:
        model: a converted model. One under ``torch.compile`` or in ``DistributedDataParallel`` is
            saved as the model inside.
        folder: where to write; it is made if it does not exist.
        options: of the model's ``save_pretrained``, such as ``max_shard_size``.

    A model of transformers or diffusers is written by its ``save_pretrained``; after `convert` that
    method does the same when it is called directly. (A model of which only a part was given to
    `convert`, as in ``convert(model.encoder)``, has no such method: call `save`.)

    The plan of the conversion, in JSON, is the entry ``dyt`` of a transformers ``config.json``, and
    for all other models the file ``dyt.json``. Weights are in safetensors. They hold one more
    entry, without values, whose name, ``converted_by_dyt.load_with_dyt.load``, is what a loader
    reports that does not know the plan.

    Raises:
        ValueError: no layer of the model was put in by `convert`; one is of a class of your own, or
            still beside its norm (see `settle`);
            the state dict holds something else than tensors; options for a model that has no
            ``save_pretrained``.
        ImportError: safetensors is not installed; ``pip install 'dyt-core[hub]'`` brings it.

    Example:
        >>> import tempfile, torch, dyt
        >>> build = lambda: torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8))
        >>> model = dyt.convert(build(), "dyt", alpha_init_value=0.7)
        >>> folder = tempfile.mkdtemp()
        >>> dyt.save(model, folder)
        >>> x = torch.randn(2, 4)
        >>> torch.equal(dyt.load(folder, build())(x), model(x))
        True
    """
    model = _inner(model)
    plan = plan_of(model)
    if plan is None:
        raise ValueError(
            f"{type(model).__name__} holds no layer that dyt.convert put in: save it as any model"
        )
    if library(type(model)) is not None:
        _save_pretrained(model, folder, **options)
        return
    if options:
        raise ValueError(f"{type(model).__name__} has no save_pretrained to take {list(options)}")
    from_file = safetensors()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    from_file.save_file(_values(model, plan), folder / WEIGHTS, {"format": "pt"})
    _write(plan, folder)


def safetensors() -> Any:
    """The module ``safetensors.torch``, which only the extra ``hub`` requires.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return import_module("safetensors.torch")
    except ImportError:
        raise ImportError(
            "dyt.save and dyt.load need safetensors: pip install 'dyt-core[hub]'"
        ) from None


def library(cls: type[nn.Module]) -> str | None:
    """Which library saves and loads models of this class; None: this module itself does."""
    for base in cls.__mro__:
        package = base.__module__.partition(".")[0]
        if _BASES.get(package) == base.__name__:
            return package
    return None


def make_savable(model: nn.Module) -> None:
    """Have the model's ``save_pretrained`` write the plan, while it holds layers put in.

    Called after every swap and its undoing. The models of a library that are parts of it are
    treated alike, and loading a state dict into any of them leaves out the `MARK`.
    """
    for module in model.modules():
        pretrained = library(type(module)) is not None
        if not pretrained and module is not model:
            continue
        _unhook(module)
        module.__dict__.pop("save_pretrained", None)
        if any(map(is_put_in, module.modules())):
            module.register_load_state_dict_pre_hook(_leave_out_mark)  # type: ignore[no-untyped-call]
            if pretrained:
                module.__dict__["save_pretrained"] = partial(_save_pretrained, module)


def _inner(model: nn.Module) -> nn.Module:
    inner = model._modules.get("_orig_mod")  # of torch.compile
    if inner is None and isinstance(model, nn.parallel.DistributedDataParallel):
        inner = model.module
    return model if inner is None else _inner(inner)


def _save_pretrained(
    model: Any, save_directory: str | PathLike[str], *given: Any, **options: Any
) -> Any:
    native = type(model).save_pretrained
    plan = plan_of(model)
    if plan is None:  # the layers were taken out by a swap of a part of the model
        return native(model, save_directory, *given, **options)
    if options.get("state_dict") is not None:
        options["state_dict"] = {**options["state_dict"], MARK: torch.empty(0)}
    with _marked(model), _plan_in_config(model, plan):
        made = native(model, save_directory, *given, **options)
    folder = Path(save_directory)
    if library(type(model)) == "transformers":
        (folder / PLAN).unlink(missing_ok=True)
    else:
        _write(plan, folder)
    return made


@contextmanager
def _marked(model: nn.Module) -> Iterator[None]:
    """Within it the model's state dict has the `MARK`."""

    def add(module: nn.Module, state: dict[str, Tensor], prefix: str, _: object) -> None:
        state[prefix + MARK] = torch.empty(0)

    handle = model.register_state_dict_post_hook(add)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _plan_in_config(model: Any, plan: Plan) -> Iterator[None]:
    if library(type(model)) != "transformers":
        yield
        return
    setattr(model.config, ENTRY, plan)
    try:
        yield
    finally:
        delattr(model.config, ENTRY)


def _write(plan: Plan, folder: Path) -> None:
    (folder / PLAN).write_text(json.dumps(plan, indent=1) + "\n")


def _values(model: nn.Module, plan: Plan) -> dict[str, Tensor]:
    """The state dict, of shared tensors the first name alone, with the `MARK`."""
    copies = {name for group in plan["shared"] for name in group[1:]}
    found: dict[str, Tensor] = {MARK: torch.empty(0)}
    storages: set[int] = set()
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name!r} of the state dict is no tensor: safetensors holds no other")
        if name in copies:
            continue
        storage = value.untyped_storage().data_ptr()
        is_part = storage in storages or value.untyped_storage().nbytes() != value.nbytes
        found[name] = value.clone() if is_part else value.contiguous()
        storages.add(storage)
    return found


def _leave_out_mark(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    state.pop(prefix + MARK, None)


def _unhook(module: nn.Module) -> None:
    hooks: Mapping[int, Any] = module._load_state_dict_pre_hooks
    for key in [key for key, hook in hooks.items() if hook.hook is _leave_out_mark]:
        del module._load_state_dict_pre_hooks[key]
