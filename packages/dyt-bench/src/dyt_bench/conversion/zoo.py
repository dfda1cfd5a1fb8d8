"""Models by name, built small: for `dyt-bench convert` and the census of architectures.

A name says where the model comes from::

    timm:vit_tiny_patch16_224            transformers:LlamaConfig (or llama, LlamaForCausalLM)
    diffusers:DiTTransformer2DModel      module:path.to:factory
    ./bert                               a checkpoint's folder, with its weights
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from dyt_bench.conversion.checkpoints import is_folder, load_checkpoint
from dyt_bench.conversion.specimen import Specimen as Specimen
from dyt_bench.discovery.domains import unknown
from dyt_bench.errors import UserError, quoted

LIBRARIES = ("timm", "transformers", "diffusers")


def load(spec: str, *, full: bool = False) -> Specimen:
    """The model that ``spec`` names: small, or at its library's size on the meta device.

    Raises:
        UserError: a source, class or factory that does not exist, or a model that cannot be
            built.
    """
    if is_folder(spec):
        return Specimen(spec, load_checkpoint(Path(spec).expanduser()))
    source, _, name = spec.partition(":")
    known = (*LIBRARIES, "module")
    if not name or source not in known:
        write = "write SOURCE:NAME, as timm:convnext_atto, or a checkpoint's folder, as ./bert"
        wrong = f"no name: {write}" if source in known else unknown("source", source, known, write)
        raise UserError(f"model {quoted(spec)}: {wrong}")
    try:
        if source == "module":
            return Specimen(spec, _made_by(name))
        found: Specimen = library(source).build(name, full=full)
        return found
    except UserError as error:
        raise UserError(f"model {quoted(spec)}: {error}") from None
    except Exception as error:  # libraries raise anything for a name or a size
        first = str(error).partition("\n")[0]
        raise UserError(f"model {quoted(spec)}: {type(error).__name__}: {first}") from None


def library(source: str) -> Any:
    """The module of this package for a library: it has ``names()`` and ``build(name)``.

    Raises:
        UserError: the library is not installed.
    """
    try:
        return importlib.import_module(f"dyt_bench.conversion.{source}_models")
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed: pip install {error.name}") from None


def _made_by(path: str) -> nn.Module:
    """The model that the factory at ``path``, "package.module:function", returns."""
    module_name, colon, attribute = path.partition(":")
    if not colon:
        raise UserError("write module:PACKAGE.MODULE:FACTORY")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UserError(f"there is no module {quoted(error.name)}") from None
    factory: Callable[[], Any] | None = getattr(module, attribute, None)
    if not callable(factory):
        raise UserError(f"{module_name} has no function {quoted(attribute)}")
    model = factory()
    if not isinstance(model, nn.Module):
        raise UserError(f"{path} returned a {type(model).__name__}, not a torch.nn.Module")
    return model
