"""What each of several jobs that run side by side owns: threads, and on such machines a GPU."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dyt_bench.executors.contract import Job

_GPUS = Path("/proc/driver/nvidia/gpus")  # one folder a GPU; read without a library


@dataclass(frozen=True)
class Slot:
    """A share of a machine."""

    threads: int | None = None  # of torch, in each process; None: as many as torch takes
    gpu: str | None = None  # for CUDA_VISIBLE_DEVICES: one, or "0,1"; None: what the process sees


def local_slots(jobs: int | None = None, threads: int | None = None) -> list[Slot]:
    """This machine's slots: one a GPU, or else one thread each and as many as cores.

    With one thread a run no barrier is waited at, so that busy neighbours slow it in proportion,
    and its numbers do not depend on how many run beside it.

    Args:
        jobs: how many; None: what the machine has.
        threads: of each; None: one on a CPU, torch's own number beside a GPU.
    """
    gpus = _gpus()
    if gpus:
        count = jobs or len(gpus)
        return [Slot(threads, gpus[index % len(gpus)]) for index in range(count)]
    each = threads or 1
    return [Slot(each)] * (jobs or max(1, cores() // each))


def joined(slots: Sequence[Slot]) -> Slot:
    """What a job owns that takes several slots: a GPU of each for one of its processes."""
    gpus = [slot.gpu for slot in slots if slot.gpu is not None]
    return Slot(slots[0].threads, ",".join(gpus) or None)


def devices() -> int:
    """How many devices of this machine a run may take: GPUs, or else cores, a process each."""
    return len(_gpus()) or cores()


def cores() -> int:
    """Physical cores that this process may use."""
    import psutil

    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        physical = min(physical, len(os.sched_getaffinity(0)))
    return max(1, min(physical, _quota()))


def in_slot(slot: Slot, job: Job, emit: Callable[[dict[str, Any]], None]) -> Any:
    """Do the job with what the slot owns; called in the job's process, before it computes."""
    if slot.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = slot.gpu  # read when CUDA is first used
    if slot.threads is not None:
        import torch

        torch.set_num_threads(slot.threads)
    return job(emit)


def _gpus() -> Sequence[str]:
    """Names of the GPUs that this process may use, for CUDA_VISIBLE_DEVICES."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name not in ("", "-1")]
    return [str(index) for index in range(len(list(_GPUS.glob("*"))))]


def _quota() -> int:
    """Processors that the container may use: a cgroup's quota, rounded up; no limit elsewhere."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return 2**16
    return 2**16 if quota == "max" else -(-int(quota) // int(period))
