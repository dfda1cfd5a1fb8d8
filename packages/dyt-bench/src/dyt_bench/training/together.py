"""Processes that train one run together: how they start, join, and agree. Needs torch.

The first process trains as one alone would, and records. The others are started by it once it has
built the data, so that caches are filled once; they compute with it and record nothing.

On several nodes the executor starts the first process of each, with NODE_RANK, MASTER_ADDR and
MASTER_PORT in its environment: which node it is, and where the first node listens.
"""

import multiprocessing
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from torch import distributed

from dyt_bench.errors import UserError, listed
from dyt_bench.plugin.data import place

_ADDRESS = "127.0.0.1"
_END_S = 30.0  # that the others may take to end after the first
_LOOK_S = 0.5  # between two looks at whether they run


class Joined(LightningEnvironment):
    """Tells Lightning that this process is one of those that were started."""

    @property
    def creates_processes_externally(self) -> bool:
        return True


Join = Callable[[], AbstractContextManager[None]]  # its context is that of the joined process


def local_rank() -> int:
    """Which of its node's processes this one is."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def node_rank() -> int:
    """Which node this is of those that train a run together."""
    return int(os.environ.get("NODE_RANK", "0"))


@contextmanager
def team(devices: int, nodes: int, follow: Callable[[Join], object]) -> Iterator[None]:
    """Start this node's other processes, which call ``follow``, and join them as its first one.

    Args:
        devices: processes of a node.
        follow: picklable; given how to join.

    Raises:
        UserError: there are several nodes, and the environment does not say where they meet.
    """
    meeting = _meeting(nodes)
    first, count = node_rank() * devices if nodes > 1 else 0, devices * nodes
    # Not by a fork: threads and GPUs do not outlive one.
    context = multiprocessing.get_context("spawn")
    threads = torch.get_num_threads()
    others = [
        context.Process(
            target=_follow,
            args=(follow, local, partial(joined, first + local, count, meeting), threads),
            daemon=False,
        )
        for local in range(1, devices)
    ]
    for process in others:
        process.start()
    ended = threading.Event()
    threading.Thread(target=_end_with, args=(others, ended), daemon=True).start()
    try:
        with joined(first, count, meeting):
            yield
        for process in others:
            process.join(_END_S)
    finally:
        ended.set()
        for process in others:
            process.kill()
            process.join()


def _end_with(others: Sequence[Any], ended: threading.Event) -> None:
    """End this process if another fails: whoever waits for it in a collective call waits long."""
    while not ended.wait(_LOOK_S):
        if any(process.exitcode not in (None, 0) for process in others):
            print("another process of this run has failed", flush=True)
            os._exit(1)


@contextmanager
def joined(rank: int, count: int, meeting: tuple[str, str]) -> Iterator[None]:
    """Be process ``rank`` of ``count``, which meet at an address and a port of the first."""
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(local_rank())
    address, port = meeting
    os.environ.update(MASTER_ADDR=address, MASTER_PORT=port)
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if has_gpu else "gloo",
        init_method=f"tcp://{address}:{port}",
        rank=rank,
        world_size=count,
    )
    try:
        yield
    finally:
        leave()


def leave() -> None:
    """Leave the others: from here on this process is one alone."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _meeting(nodes: int) -> tuple[str, str]:
    """Address and port where the processes meet: of this machine, or of the first node."""
    if nodes == 1:
        with socket.socket() as free:
            free.bind((_ADDRESS, 0))
            return _ADDRESS, str(free.getsockname()[1])
    names = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise UserError(
            f"a run on {nodes} nodes needs {listed(missing)} in the environment of each node's "
            "process, which the executor sets: take one that starts a run on several nodes"
        )
    return os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]


def _follow(follow: Callable[[Join], object], local: int, join: Join, threads: int) -> None:
    """The main function of the others."""
    torch.set_num_threads(threads)
    os.environ["LOCAL_RANK"] = str(local)
    follow(join)


# What they agree on. Each is a call that all of them make.


def any_of(*flags: bool) -> list[bool]:
    """For each flag, whether any process has set it."""
    if place()[1] == 1:
        return list(flags)
    values = torch.tensor(flags, dtype=torch.int32)
    distributed.all_reduce(values, distributed.ReduceOp.MAX)
    return [bool(value) for value in values.tolist()]


def mean_of(values: Sequence[float]) -> list[float]:
    """The mean over the processes of each value; NaN if one is."""
    _, count = place()
    if count == 1:
        return list(values)
    sums = torch.tensor(values, dtype=torch.float64)
    distributed.all_reduce(sums)
    return [value / count for value in sums.tolist()]


def least_of(value: int) -> int:
    """The least of the processes' values."""
    if place()[1] == 1:
        return value
    found = torch.tensor(value)
    distributed.all_reduce(found, distributed.ReduceOp.MIN)
    return int(found)


def of_first(value: Any) -> Any:
    """The first process's value."""
    if place()[1] == 1:
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def gathered(values: list[bytes]) -> list[bytes]:
    """The values of all processes, the first one's first."""
    if place()[1] == 1:
        return values
    found: list[list[bytes]] = [[] for _ in range(place()[1])]
    distributed.all_gather_object(found, values)
    return [value for each in found for value in each]


class Silent:
    """The recorder of a process that does not record: `dyt_bench.training.outcome.Recorder`."""

    def __init__(self, checkpoint_path: Path) -> None:
        self.appended = 0
        self.checkpoint_path = self.weights_path = self.artifacts = checkpoint_path

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        self.appended += 1

    def flush(self) -> None: ...

    def resume(self, appended: int) -> bool:
        self.appended = appended
        return True

    def rows(self) -> list[dict[str, float]]:
        return []
