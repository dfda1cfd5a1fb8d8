"""Load a converted model: its plan first, then its weights."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import wraps
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dyt._surgery.encoder import keep_from_kernel
from dyt._surgery.placing import is_put_in, replace
from dyt._surgery.plan import SCHEMA, Plan, apply, forget_originals, restore_buffers
from dyt._surgery.saving import ENTRY, MARK, PLAN, library, make_savable, safetensors

_STEMS = ("model", "diffusion_pytorch_model")  # of files with weights: ours and transformers', ...
_CONFIG = "config.json"
# With one of these the caller asks for other values than were saved.
_CHANGES = {"dtype", "torch_dtype", "quantization_config", "device_map", "variant", "subfolder"}
_IGNORED = "_keys_to_ignore_on_load_unexpected"  # of the libraries' classes
_ALIGNMENT = 64  # bytes, of PyTorch's own allocations on the CPU
LISTED = 5  # names in a message


def load(folder: str | PathLike[str], model: nn.Module | None = None, **options: Any) -> nn.Module:
    """The converted model that `save`, or a ``save_pretrained``, wrote, bit for bit.

    Args:
        folder: what was written.
        model: the model with its norms, newly built; its layers are swapped in place as the plan
            says, and its values, dtypes included, become those of the checkpoint. It may be left
            out if the folder has the ``config.json`` of transformers or diffusers, which names a
            class of the library; code from the folder is never run.
        options: of ``from_pretrained``, such as ``device_map``, where the model is left out.

    Returns:
        The model; with transformers and diffusers in eval mode. Its norms have no trained values:
        `revert` and `calibrate` refuse it.

    Raises:
        ValueError: the folder is no checkpoint of a converted model, or one of a newer version;
            the model is another than was saved, converted already, on the meta device, or left out
            where it cannot be built. A model that was given is then as it was, but for its dtypes.
        ImportError: safetensors, or the library of the model, is not installed.

    Example:
        >>> import tempfile, torch, dyt
        >>> model = dyt.convert(torch.nn.Sequential(torch.nn.LayerNorm(8)), "derf")
        >>> folder = tempfile.mkdtemp()
        >>> dyt.save(model, folder)
        >>> dyt.load(folder, torch.nn.Sequential(torch.nn.LayerNorm(8)))[0].function
        'erf'
    """
    folder = Path(folder)
    plan = _read(folder)
    safetensors()
    if model is None:
        return _pretrained(_class(folder), plan, folder, options)
    if options:
        raise ValueError(f"{list(options)} are for a model that dyt.load builds: leave out one")
    if any(value.is_meta for value in (*model.parameters(), *model.buffers())):
        raise ValueError(f"{type(model).__name__} is on the meta device: build it on a real one")
    root, changes = apply(plan, model)
    try:
        _fill(root, plan, dict(_saved(folder)))
    except BaseException:
        replace(root, {new: old for old, new in changes.items()})
        raise
    _finish(root, plan, changes)
    return root


def _read(folder: Path) -> Plan:
    """The plan of a folder.

    Raises:
        ValueError: it has none, or one of a newer version.
    """
    plan = _json(folder / PLAN) or _json(folder / _CONFIG).get(ENTRY)
    if not isinstance(plan, dict) or not isinstance(plan.get("schema"), int):
        lacks = f"has neither {PLAN} nor a plan in {_CONFIG}"
        what = lacks if folder.is_dir() else "is no folder"
        raise ValueError(f"{str(folder)!r} is no checkpoint of a converted model: it {what}")
    if plan["schema"] > SCHEMA:
        raise ValueError(
            f"{str(folder)!r} was written by dyt {plan.get('dyt')}, with a plan of schema "
            f"{plan['schema']}, and this version reads up to {SCHEMA}: upgrade dyt-core"
        )
    return plan


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _class(folder: Path) -> Any:
    """The library's class that ``config.json`` names.

    Raises:
        ValueError: it names none.
        ImportError: the library is not installed.
    """
    config = _json(folder / _CONFIG)
    name = config.get("_class_name") or next(iter(config.get("architectures") or ()), None)
    package = "diffusers" if "_class_name" in config else "transformers"
    if not isinstance(name, str):
        raise ValueError(
            f"{str(folder)!r} has no {_CONFIG} that names the model's class: pass the model too, "
            "newly built, as in dyt.load(folder, build())"
        )
    try:
        found = getattr(import_module(package), name, None)
    except ImportError:
        raise ImportError(f"{name} is a model of {package}: pip install {package}") from None
    if not isinstance(found, type) or library(found) is None:
        raise ValueError(
            f"{package} has no model {name!r}: pass the model too, newly built, as in "
            "dyt.load(folder, build())"
        )
    return found


def _pretrained(cls: Any, plan: Plan, folder: Path, options: dict[str, Any]) -> nn.Module:
    """Load with the library, which builds a class whose models start with the plan's layers."""
    found: list[dict[nn.Module, nn.Module]] = []

    def start(self: Any, *given: Any, **named: Any) -> None:
        cls.__init__(self, *given, **named)
        found.append(apply(plan, self)[1])

    known = getattr(cls, _IGNORED, None) or ()
    body = {
        "__init__": wraps(cls.__init__)(start),
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        _IGNORED: [*known, re.escape(MARK)],
    }
    converted: Any = type(cls.__name__, (cls,), body)
    model, info = converted.from_pretrained(folder, output_loading_info=True, **options)
    model.__class__ = cls
    kinds = ("missing_keys", "unexpected_keys", "mismatched_keys")
    _refuse(model, *([str(key) for key in info.get(kind) or ()] for kind in kinds))
    if library(cls) == "transformers":
        model.config.__dict__.pop(ENTRY, None)
    if not _CHANGES & options.keys():
        state = model.state_dict()
        _set_dtypes(model, {k: v for k, v in _saved(folder) if k in state})
    _finish(model, plan, found[-1])
    loaded: nn.Module = model
    return loaded


def _saved(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a folder's files.

    Raises:
        ValueError: there are none, or a file is damaged.
    """
    from_file = safetensors()
    for file in _files(folder):
        try:
            yield from from_file.load_file(file).items()
        except Exception as error:  # safetensors' own class, or the system's
            raise ValueError(f"{str(file)!r} cannot be read: {error}") from error


def _files(folder: Path) -> list[Path]:
    for stem in _STEMS:
        if (file := folder / f"{stem}.safetensors").exists():
            return [file]
        parts = _json(folder / f"{stem}.safetensors.index.json").get("weight_map")
        if parts:
            return sorted({folder / str(name) for name in parts.values()})
    raise ValueError(f"{str(folder)!r} has a plan and no weights: it lacks {_STEMS[0]}.safetensors")


def _fill(model: nn.Module, plan: Plan, values: dict[str, Tensor]) -> None:
    """Give the model the values, each under all names that share it."""
    values.pop(MARK, None)
    state = model.state_dict()
    for group in plan["shared"]:
        kept = next((values[name] for name in group if name in values), None)
        values.update({name: kept for name in group if kept is not None and name in state})
    shapes = [k for k in values if k in state and values[k].shape != state[k].shape]
    _refuse(model, state.keys() - values.keys(), values.keys() - state.keys(), shapes)
    _set_dtypes(model, values)
    model.load_state_dict(values, strict=True)


def _refuse(
    model: nn.Module, missing: Iterable[str], unexpected: Iterable[str], shapes: Iterable[str]
) -> None:
    """Raise if weights and model do not fit exactly."""
    wrong = {
        "the checkpoint lacks": sorted(missing),
        "the model lacks": sorted(unexpected),
        "of another shape is": sorted(shapes),
    }
    listed = [f"{what} {', '.join(n[:LISTED])}" for what, n in wrong.items() if n]
    if listed:
        more = " ..." if any(len(names) > LISTED for names in wrong.values()) else ""
        raise ValueError(
            f"{type(model).__name__} is another model than was saved: {'; '.join(listed)}{more}"
        )


def _set_dtypes(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Give parameters and buffers the dtypes of ``values``, and where that changes them, these."""
    with torch.no_grad():
        for name, value in model.state_dict(keep_vars=True).items():
            wanted = values.get(name)
            if wanted is not None and wanted.dtype != value.dtype:
                value.data = wanted.to(value.device, copy=True)  # not in the file's memory


def _align(model: nn.Module) -> None:
    """Move values of the CPU to where an allocation of their own would lie.

    A library may leave them in the memory of the file. At another alignment matrix products sum in
    another order, and the model's last bits are others.
    """
    for value in (*model.parameters(), *model.buffers()):
        if value.device.type == "cpu" and value.data_ptr() % _ALIGNMENT:
            value.data = value.data.clone()


def _finish(model: nn.Module, plan: Plan, changes: Mapping[nn.Module, nn.Module]) -> None:
    _align(model)
    restore_buffers(plan, model)
    forget_originals(changes)
    keep_from_kernel(model, is_put_in)
    make_savable(model)
