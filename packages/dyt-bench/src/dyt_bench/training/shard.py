"""`strategy: fsdp2`: each process holds a share of weights, gradients and the optimiser's state."""

from collections.abc import Iterable
from copy import deepcopy
from functools import partial
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from dyt_bench.plugin.data import place
from dyt_bench.plugin.task import Task


def is_sharded(task: Task) -> bool:
    """Whether the task's weights are shared among processes."""
    return task.strategy == "fsdp2" and task.processes > 1


def strategy(task: Task) -> ModelParallelStrategy:
    """Lightning's strategy, with checkpoints that are whole: the first process gathers them.

    So a checkpoint is one file, read by any number of processes, and written whole or not at all.
    """
    return ModelParallelStrategy(
        data_parallel_size=task.processes, tensor_parallel_size=1, save_distributed_checkpoint=False
    )


class Shards:
    """A module whose weights the processes share while it trains.

    It is built whole in each, by the same seed, and then cut: so it starts from the weights of one
    process, whatever started them. The first process keeps a copy, which gets the trained weights.
    """

    def __init__(self, module: LightningModule) -> None:
        self.module = module
        self.whole = deepcopy(module) if place()[0] == 0 else None
        # Lightning calls it before validating and before fitting.
        module.configure_model = partial(_shard, module)  # type: ignore[method-assign]

    def gathered(self) -> LightningModule:
        """The whole module with the trained weights, in the first process; all of them call it."""
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        state: dict[str, Any] = get_model_state_dict(self.module, options=options)
        if self.whole is None:
            return self.module
        self.whole.load_state_dict(state)
        return self.whole


def _shard(module: LightningModule) -> None:
    blocks: Iterable[Any] = module.blocks()  # type: ignore[operator]  # the contract
    for block in blocks:
        if not isinstance(block, FSDPModule):
            fully_shard(block)


def whole(value: Any) -> Any:
    """A tensor of all processes' shares, where it is shared; all of them call it."""
    return value.full_tensor() if isinstance(value, DTensor) else value
