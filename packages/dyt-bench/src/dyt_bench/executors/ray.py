"""Runs as actors of a Ray cluster, whose nodes need no file system in common.

Where a job runs, how many nodes there are and when more are started is Ray's business. Rows, logs
and checkpoints come back through Ray as they are written. When a node is lost, its job starts again
elsewhere from the last checkpoint that came.
"""

import contextlib
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from dyt_bench.errors import UserError, quoted, reason
from dyt_bench.executors.carry import files_of, land, pack
from dyt_bench.executors.contract import (
    NO_LIMITS,
    Bytes,
    Event,
    Job,
    JobFailed,
    JobStopped,
    Limits,
    Preempted,
)
from dyt_bench.executors.node import LATEST_S, Node, versions
from dyt_bench.executors.slots import Slot, cores

_POLL_S = 2.0  # how long a node waits for an event before it answers
_LOOK_S = 0.25  # how often this machine looks whether it is told to stop
_QUIET_S = 60.0  # without a node, after which the caller is told, and how often
_LOSSES = 3  # of nodes in a row, without a new checkpoint
_ANSWER_S = 10.0


class RayExecutor:
    """Runs each job as an actor.

    Args:
        address: ``host:port`` of a cluster; by default ``RAY_ADDRESS``, or a cluster on this
            machine, which ends with the command.
        num_cpus, num_gpus, memory, resources: what a run takes of a node.
        placement: SPREAD puts runs on many nodes, DEFAULT fills one after the other.
        autoscale: whether nodes may come that are not there yet.

    Raises:
        UserError: Ray is not installed, no cluster answers, or none of its nodes is large enough.
    """

    def __init__(
        self,
        preload: Sequence[str],
        *,
        address: str = "",
        num_cpus: float = 1.0,
        num_gpus: float = 0.0,
        memory: Bytes | None = None,
        resources: Mapping[str, float] = {},
        placement: Literal["DEFAULT", "SPREAD"] = "DEFAULT",
        autoscale: bool = False,
    ) -> None:
        self.needs = {
            "CPU": num_cpus,
            "GPU": num_gpus,
            "memory": float(memory or 0),
            **resources,
        }
        self.placement = placement
        self._ray = _connect(address or os.environ.get("RAY_ADDRESS", ""))
        self._fitting = self._fit()
        if not self._fitting and not autoscale:
            raise UserError(self._misfit())

    def slots(self, jobs: int | None, threads: int | None) -> Sequence[Slot]:
        """See `dyt_bench.executors.contract.Executor`: as many as fit the nodes that are there."""
        own = None if self.needs["GPU"] else max(1, int(self.needs["CPU"]))
        return [Slot(threads or own)] * (jobs or max(1, self._fitting))

    def run(self, job: Job, log: Path, limits: Limits = NO_LIMITS) -> "RayJob":
        """See `dyt_bench.executors.contract.Executor`."""
        return RayJob(self._ray, partial(self._actor, limits), job, log)

    def _actor(self, limits: Limits, job: bytes, log: str, files: Sequence[Event]) -> Any:
        """Start an actor; it waits until a node has room."""
        known = {name: amount for name, amount in self.needs.items() if amount}
        options = {
            "num_cpus": known.pop("CPU", 0),
            "num_gpus": known.pop("GPU", 0),
            "memory": known.pop("memory", None),
            "resources": known,
            "scheduling_strategy": self.placement,
            "max_concurrency": 2,  # it is told to stop while it waits for events
        }
        remote = self._ray.remote(**options)(Node)
        return remote.remote(job, log, files, limits, versions())

    def _nodes(self) -> list[dict[str, float]]:
        """What each node has that is alive."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _fit(self) -> int:
        """How many runs fit the nodes at a time."""
        needs = {name: amount for name, amount in self.needs.items() if amount}
        if not needs:
            return len(self._nodes())
        return sum(
            int(min(node.get(name, 0.0) // amount for name, amount in needs.items()))
            for node in self._nodes()
        )

    def _misfit(self) -> str:
        wanted = ", ".join(f"{value:g} {name}" for name, value in self.needs.items() if value)
        most = ", ".join(
            f"{max((node.get(name, 0.0) for node in self._nodes()), default=0):g} {name}"
            for name, value in self.needs.items()
            if value
        )
        return (
            f"no node of the Ray cluster has what a run takes ({wanted}; the most that one has: "
            f"{most}): ask for less in the suite's executor, or give `autoscale: true` if such "
            "nodes are started on demand"
        )


class RayJob:
    """A job on a node: the `dyt_bench.executors.contract.Running` of Ray."""

    def __init__(self, ray: Any, actor: Any, job: Job, log: Path) -> None:
        self._ray, self._make, self._log = ray, actor, log.absolute()
        self._folder = self._log.parent
        self._job, self._takes_files = pack(job, self._folder)
        self._node: Any = None
        self._answer: Any = None  # what the node is asked at present
        self._losses, self._arrived = 0, False
        self._stopping: BaseException | None = None

    def __enter__(self) -> "RayJob":
        self._start()
        return self

    def _start(self) -> None:
        files = files_of(self._folder) if self._takes_files else []
        self._node = self._make(self._job, self._log.name, files)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        node, self._node = self._node, None
        if node is None:
            return
        try:
            if kind is not None and issubclass(kind, Preempted | KeyboardInterrupt):
                with contextlib.suppress(self._ray.exceptions.RayError):
                    self._ray.get(node.stop.remote(), timeout=LATEST_S + _ANSWER_S)
                    for answer in (self._answer, node.poll.remote(0.0)):
                        self._land(self._ray.get(answer, timeout=_ANSWER_S))
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.get(node.close.remote(), timeout=_ANSWER_S)
        finally:
            self._ray.kill(node)

    def stop(self, error: BaseException) -> None:
        """Make the iteration raise ``error`` within a moment; called by another thread."""
        self._stopping = error

    def kill(self) -> None:
        """End the job at once; called by another thread."""
        if (node := self._node) is not None:
            self._ray.kill(node)

    def __iter__(self) -> Iterator[Event]:
        """See `dyt_bench.executors.contract.Running`."""
        while True:
            try:
                yield from self._follow()
                return
            except self._ray.exceptions.RayTaskError as error:
                raise JobFailed(f"its node failed: {reason(error)}") from None
            except (self._ray.exceptions.RayError, JobStopped) as error:
                self._losses = 1 if self._arrived else self._losses + 1
                if self._losses > _LOSSES:
                    raise JobFailed(
                        f"its node was lost {self._losses} times in a row without a new "
                        f"checkpoint ({reason(error)})"
                    ) from None
                self._arrived = False
                self._note(f"its node was lost ({reason(error)}); it starts again elsewhere")
                self._start()

    def _follow(self) -> Iterator[Event]:
        """The events of one node, until the job or the node ends."""
        heard = told = time.monotonic()
        self._answer = self._node.poll.remote(_POLL_S)
        while True:
            if self._stopping is not None:
                raise self._stopping
            ready, _ = self._ray.wait([self._answer], timeout=_LOOK_S)
            now = time.monotonic()
            if not ready:
                if now - told >= _QUIET_S:  # it waits for a node
                    told = now
                    yield {"event": "quiet", "seconds": now - heard, "alive": True}
                continue
            heard = told = now
            for event in self._land(self._ray.get(self._answer)):
                if event["event"] == "error":
                    raise event["error"]
                yield event
                if event["event"] == "outcome":
                    return
            self._answer = self._node.poll.remote(_POLL_S)

    def _land(self, events: Sequence[Event]) -> list[Event]:
        """Write the files that came; the other events."""
        for event in events:
            if event["event"] == "file":
                land(event, self._folder)
                self._arrived |= event["name"] != self._log.name
        return [event for event in events if event["event"] != "file"]

    def _note(self, text: str) -> None:
        with contextlib.suppress(OSError), self._log.open("a") as log:
            log.write(f"dyt-bench: {text}\n")


def _connect(address: str) -> Any:
    """The module `ray`, connected to a cluster; raises UserError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise UserError(
            'the executor ray needs the package ray: pip install "dyt-bench[ray]", or choose '
            "another executor"
        ) from None
    if ray.is_initialized():
        return ray
    _check_address(address)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        with warnings.catch_warnings():
            # What Ray will do where a task does not say how many GPUs it takes: ours all do.
            warnings.filterwarnings("ignore", "Tip: In future versions", FutureWarning)
            if address:
                ray.init(address=address, **quiet)
            else:
                ray.init(num_cpus=cores(), include_dashboard=False, **quiet)
    except Exception as error:  # of many kinds
        raise UserError(_no_cluster(address, reason(error))) from None
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():  # Ray sets its own
                signal.signal(number, handler)
    return ray


def _check_address(address: str) -> None:
    """Raise UserError where nothing listens: Ray would try for a minute."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if address in ("", "auto", "local"):
        return
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise UserError(
            f"{quoted(address)} is no address of a Ray cluster: give host:port, as `ray start` "
            "prints it, or leave it out for a cluster on this machine"
        )
    try:
        with socket.create_connection((host, int(port)), timeout=_ANSWER_S):
            pass
    except OSError as error:
        raise UserError(_no_cluster(address, error.strerror or str(error))) from None


def _no_cluster(address: str, why: str) -> str:
    return (
        f"no Ray cluster answers at {address or 'this machine'} ({why}): start it with `ray start "
        "--head`, fix the address, or choose another executor"
    )
