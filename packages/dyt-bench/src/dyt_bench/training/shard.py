"""`strategy: fsdp2`: each process holds a share of weights, gradients and the optimiser's state."""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from dyt_bench.plugin.data import place
from dyt_bench.plugin.task import Task
from dyt_bench.training.together import local_rank


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

    The first process builds it whole, so that it starts from the weights of one process, whatever
    started them, and keeps a copy, which gets the trained weights.

    Args:
        empty: whether the others have built it without weights, on the meta device: the first one
            sends them theirs. Otherwise each has built it whole, by the same seed.
    """

    def __init__(self, module: LightningModule, *, empty: bool) -> None:
        self.module, self.waiting = module, empty
        self.whole = deepcopy(module) if place()[0] == 0 else None
        # Lightning calls it before validating and before fitting.
        module.configure_model = self._cut  # type: ignore[method-assign]

    def gathered(self) -> LightningModule:
        """The whole module with the trained weights, in the first process; all of them call it."""
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        state: dict[str, Any] = get_model_state_dict(self.module, options=options)
        if self.whole is None:
            return self.module
        self.whole.load_state_dict(state)
        return self.whole

    def _cut(self) -> None:
        blocks: Iterable[Any] = self.module.blocks()  # type: ignore[operator]  # the contract
        for block in blocks:
            if not isinstance(block, FSDPModule):
                fully_shard(block)
        if self.waiting:
            self._receive()
            self.waiting = False

    def _receive(self) -> None:
        """Give every process its share of the first one's weights."""
        if self.whole is None:
            kept = dict(self.module.named_buffers())
            gpu = torch.cuda.is_available()
            self.module.to_empty(device=torch.device("cuda", local_rank()) if gpu else "cpu")
            for name, buffer in self.module.named_buffers():
                buffer.copy_(kept[name])
        state = {} if self.whole is None else self.whole.state_dict()
        options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
        set_model_state_dict(self.module, state, options=options)


def whole(value: Any) -> Any:
    """A tensor of all processes' shares, where it is shared; all of them call it."""
    return value.full_tensor() if isinstance(value, DTensor) else value
