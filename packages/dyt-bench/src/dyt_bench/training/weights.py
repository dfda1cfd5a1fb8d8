"""Write a module's weights, whole or not at all."""

from pathlib import Path

import torch
from torch import nn

from dyt_bench.plugin.atomic import replacing


def write_weights(module: nn.Module, path: Path) -> None:
    """Write the module's state dict, on the CPU, to ``path``.

    Raises:
        CannotWrite: the disk is full; no part of the file is left behind.
    """
    state = {name: value.detach().cpu() for name, value in module.state_dict().items()}
    with replacing(path) as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # what torch makes of an OSError
            raise OSError(str(error)) from error
