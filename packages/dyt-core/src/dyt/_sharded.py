"""Parameters that several processes share, as DTensors: their whole values, read and set.

Of a model under `torch.distributed.fsdp.fully_shard`, parameters are whole while its forward runs,
and what is then written to them is lost: it must be written again once they are shared.
"""

import torch
from torch import Tensor, nn


def whole(tensor: Tensor) -> Tensor:
    """The tensor of all processes' shares, which all of them ask for; itself where it is whole."""
    gather = getattr(tensor, "full_tensor", None)
    found: Tensor = tensor if gather is None else gather()
    return found


def is_shared(model: nn.Module) -> bool:
    """Whether processes share parameters of ``model``."""
    return any(hasattr(parameter, "full_tensor") for parameter in model.parameters())


def put(parameter: Tensor, value: Tensor) -> None:
    """Write ``value``; to a shared parameter the first process's, which all of them write."""
    if not hasattr(parameter, "full_tensor"):
        parameter.copy_(value)
        return
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(parameter, DTensor)
    value = value.to(parameter.dtype).to(parameter.device)
    parameter.copy_(distribute_tensor(value, parameter.device_mesh, parameter.placements))


def reshard(model: nn.Module) -> None:
    """Share the parameters again that a forward has made whole."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
