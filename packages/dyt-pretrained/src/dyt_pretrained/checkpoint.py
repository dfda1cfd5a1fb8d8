"""A checkpoint's folder: whether it is one, and what its configuration says. No torch."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from dyt_bench.plugin.domain import DataError, quoted, reason

Library = Literal["transformers", "timm"]

CONFIG = "config.json"
_WEIGHTS = (".safetensors", ".bin")
# What dyt.save leaves beside the weights: in a file of its own, or in the configuration.
_PLAN_FILE, _PLAN_ENTRY = "dyt.json", "dyt"
# Configurations call the same number by many names.
_WIDTHS = ("hidden_size", "n_embd", "d_model", "dim", "num_features", "embed_dim")
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")
_TYPICAL_WIDTH = 768


@dataclass(frozen=True)
class Checkpoint:
    """A model that somebody trained, in a folder."""

    folder: Path
    files: list[Path]  # all that it is read from
    config: dict[str, Any] = field(repr=False)

    @property
    def library(self) -> Library:
        return "timm" if "architecture" in self.config else "transformers"

    @property
    def architecture(self) -> str:
        """The model's class, or timm's name: ``BertForMaskedLM``, ``vit_tiny_patch16_224``."""
        named = self.config.get("architectures") or [self.config.get("model_type", "")]
        return str(self.config.get("architecture") or named[0])

    @property
    def width(self) -> int:
        return self._number(_WIDTHS) or _TYPICAL_WIDTH

    @property
    def positions(self) -> int | None:
        """Tokens that it takes at most; None: any number."""
        return self._number(_POSITIONS)

    @property
    def sees(self) -> bool:
        """Whether it takes images and no text."""
        of_images = {"image_size", "num_channels"} & self.config.keys()
        return self.library == "timm" or (bool(of_images) and "vocab_size" not in self.config)

    @property
    def predicts_next(self) -> bool:
        """Whether it was trained to predict the next token."""
        return any(word in self.architecture for word in ("CausalLM", "LMHead"))

    @cached_property
    def pixels(self) -> int | None:
        """A side of the images that it takes; None if its configuration does not say."""
        size = self.config.get("image_size")
        if self.library == "timm":
            # Before timm 1.0.31 input_size was that of the architecture, whatever the model's own.
            own = (self.config.get("model_args") or {}).get("img_size")
            size = own or (self.config.get("pretrained_cfg") or self.config).get("input_size")
        if isinstance(size, list | tuple):
            size = size[-1]
        return size if isinstance(size, int) else None

    def _number(self, names: tuple[str, ...]) -> int | None:
        found = (self.config.get(name) for name in names)
        return next((value for value in found if isinstance(value, int) and value > 0), None)


def read_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in ``folder``, as ``save_pretrained`` of transformers or timm writes it.

    Raises:
        DataError: it is none, or one that dyt has converted.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder} is no folder: expected that of a checkpoint, with {CONFIG} and "
            "model.safetensors, as save_pretrained writes it"
        )
    try:
        config = json.loads((folder / CONFIG).read_text())
    except FileNotFoundError:
        raise DataError(
            f"{folder} holds no {CONFIG}: expected the folder of a checkpoint, as save_pretrained "
            "of transformers or timm writes it"
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / CONFIG} cannot be read: {reason(error)}") from None
    if not isinstance(config, dict) or not {"model_type", "architectures", "architecture"} & set(
        config
    ):
        raise DataError(
            f"{folder / CONFIG} names no model: expected that of transformers or timm, with "
            '"model_type" or "architecture"'
        )
    if _PLAN_ENTRY in config or (folder / _PLAN_FILE).exists():
        raise DataError(
            f"{folder} was converted by dyt already: give the checkpoint with its norms, which is "
            "the baseline too; dyt.load opens a converted one"
        )
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name[0] != ".")
    if not any(file.suffix in _WEIGHTS for file in files):
        raise DataError(f"{folder} holds no weights: expected model.safetensors beside {CONFIG}")
    return Checkpoint(folder, files, config)


def tokens(option: str) -> int:
    """The option ``length``: tokens of a text at most.

    Raises:
        DataError: it is no number from 4 on.
    """
    if not option.isdecimal() or int(option) < 4:
        raise DataError(f"length must be a number of tokens, 4 or more, got {quoted(option)}")
    return int(option)


def length_of(found: Checkpoint | None, option: str | None, default: int) -> int:
    """Tokens of a text at most: the option, or the default where the model takes as many.

    Raises:
        DataError: the option is no number from 4 on, or more than the model takes.
    """
    most = None if found is None else found.positions
    if option is None:
        return min(default, most or default)
    length = tokens(option)
    if most is not None and length > most:
        raise DataError(f"length must be at most the {most} tokens of the model, got {length}")
    return length
