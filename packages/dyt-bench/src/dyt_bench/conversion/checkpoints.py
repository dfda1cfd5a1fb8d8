"""A checkpoint's folder -> the model that its library builds, with its weights."""

import importlib
import json
import os
from pathlib import Path
from typing import Any

from torch import nn

from dyt_bench.errors import UserError, quoted, reason

_CONFIG = "config.json"


def is_folder(spec: str) -> bool:
    """Whether ``spec`` means a folder: it is one, or is written as a path."""
    return os.path.isdir(os.path.expanduser(spec)) or spec.startswith(("./", "../", "/", "~"))


def load_checkpoint(folder: Path) -> nn.Module:
    """The model in a folder that ``save_pretrained`` of transformers, diffusers or timm wrote.

    Code from the folder is never run, and nothing is fetched.

    Raises:
        UserError: the folder is no checkpoint, one that dyt has converted, or its library cannot
            load it.
    """
    config = _config(folder)
    if "dyt" in config or (folder / "dyt.json").exists():
        raise UserError(
            f"{folder} was converted by dyt already: dyt.load opens it; name the checkpoint with "
            "its norms"
        )
    try:
        model = _loaded(folder, config)
    except UserError:
        raise
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed: pip install {error.name}") from None
    except Exception as error:  # libraries raise anything for a folder that they cannot load
        raise UserError(f"{folder} cannot be loaded: {reason(error)}") from None
    return model


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / _CONFIG).read_text())
    except FileNotFoundError:
        what = f"holds no {_CONFIG}" if folder.is_dir() else "is no folder"
        raise UserError(
            f"{folder} {what}: expected the folder of a checkpoint, as save_pretrained writes it"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / _CONFIG} cannot be read: {reason(error)}") from None
    if not isinstance(config, dict):
        raise UserError(f"{folder / _CONFIG} holds no configuration: expected a mapping")
    return config


def _loaded(folder: Path, config: dict[str, Any]) -> nn.Module:
    model: nn.Module
    if "architecture" in config:
        timm = importlib.import_module("timm")
        model = timm.create_model(f"local-dir:{folder.absolute()}", pretrained=True)
        return model.eval()
    package = "diffusers" if "_class_name" in config else "transformers"
    name = config.get("_class_name") or next(iter(config.get("architectures") or ()), None)
    found = getattr(importlib.import_module(package), str(name), None)
    if not isinstance(found, type):
        raise UserError(
            f"{folder / _CONFIG} names the class {quoted(name)}, which {package} does not have: "
            'expected one in "architectures"'
        )
    model = found.from_pretrained(str(folder), local_files_only=True)  # type: ignore[attr-defined]
    return model.eval()
