"""The checks of `dyt-bench doctor`: does a run work on this machine, and what slows it down?"""

import importlib
import os
import shutil
import sqlite3
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from dyt_bench.discovery.domains import Discovery, discover
from dyt_bench.discovery.extensions import EXTENSION_POINTS
from dyt_bench.discovery.inventory import check
from dyt_bench.executors.contract import JobFailed, Limits
from dyt_bench.executors.local import LocalExecutor
from dyt_bench.records.environment import fingerprint
from dyt_bench.records.workspace import Workspace
from dyt_bench.scheduling.jobs import TRAINING

State = Literal["ok", "note", "problem"]  # a note: works, though not as it could
_WATCH_S = 1.0  # how long other processes are watched
_BUSY = 20.0  # percent of a core above which another process is named
_IMPORT_S = 180.0
_ANSWER_S = 5.0


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    about: str
    text: str  # what was found, or what is wrong and how to fix it
    state: State = "ok"


def examine(
    found: Discovery, workspace: Workspace, tracking_uri: str | None
) -> dict[str, list[Finding]]:
    """Section -> findings. Writes nothing; plug-ins are imported in processes of their own."""
    return {
        "software": [Finding(name, version) for name, version in fingerprint().items()],
        "machine": [*_machine(workspace), *_others()],
        "kernels": list(_kernels()),
        "plugins": list(_plugins(found)),
        "tracking": [_tracking(tracking_uri, workspace)],
    }


def is_healthy(findings: dict[str, list[Finding]]) -> bool:
    return all(finding.state != "problem" for section in findings.values() for finding in section)


def _machine(workspace: Workspace) -> Iterator[Finding]:
    import psutil
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    device = accelerator or torch.device("cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    yield Finding("device", name)
    threads, cores = torch.get_num_threads(), _usable_cores()
    text = f"torch computes with {threads} of {cores} usable cores"
    if "OMP_NUM_THREADS" in os.environ:
        text += f" (OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']})"
    crowded = threads > cores
    yield Finding("threads", text + "; fewer would be faster" * crowded, _note(crowded))
    memory = psutil.virtual_memory()
    available, total = memory.available / 2**30, memory.total / 2**30
    yield Finding("memory", f"{available:.1f} of {total:.1f} GiB free", _note(available < 2))
    folders = (workspace.folder, *workspace.folder.parents)
    there = next(folder for folder in folders if folder.is_dir())
    if os.access(there, os.W_OK):
        free = shutil.disk_usage(there).free / 2**30
        yield Finding("disk", f"{free:.1f} GiB free at {there}", _note(free < 1))
    else:
        yield Finding("disk", f"{there} cannot be written: name another --workspace", "problem")


def _usable_cores() -> int:
    """Cores this process may run on, by its affinity and its control group's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores or 1, round(int(quota) / int(period))))
    except (OSError, ValueError):  # not Linux, an older kernel, or "max": no quota
        return cores or 1


def _others() -> Iterator[Finding]:
    """Other processes that compute now: times measured beside them are unreliable."""
    import psutil

    # process_iter reads the names at once: later the processes may be gone.
    watched = [p for p in psutil.process_iter(["name"]) if p.pid != os.getpid()]
    for process in watched:
        _share(process)
    time.sleep(_WATCH_S)
    busy = sorted(
        ((share, process) for process in watched if (share := _share(process)) > _BUSY),
        key=lambda pair: -pair[0],
    )
    if not busy:
        yield Finding("others", "no other process computes")
    for share, process in busy[:5]:
        text = f"process {process.pid} ({process.info['name']}) takes {share / 100:.1f} cores"
        yield Finding("others", f"{text}: times measured now are unreliable", "note")


def _share(process: Any) -> float:
    """Percent of a core since the last call; 0 for a process that has ended."""
    import psutil

    try:
        return float(process.cpu_percent())
    except psutil.Error:
        return 0.0


def _kernels() -> Iterator[Finding]:
    """Each backend computes a small layer, forward and backward, or says why it cannot."""
    import torch

    import dyt

    gpu = torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")
    for backend in dyt.backends():
        device = gpu if backend == "triton" else torch.device("cpu")
        x = torch.linspace(-3, 3, 48, device=device).view(3, 16).requires_grad_()
        alpha = torch.full((1,), 0.5, device=device, requires_grad=True)
        try:
            y = dyt.functional.dynamic_tanh(x, alpha, backend=backend)
            y.sum().backward()  # type: ignore[no-untyped-call]
        except Exception as error:  # a compiler, a driver, a missing library
            needs_gpu = backend == "triton" and gpu.type == "cpu"
            yield Finding(backend, str(error), "note" if needs_gpu else "problem")
            continue
        off = float((y - torch.tanh(0.5 * x)).abs().max().detach())
        right = off < 1e-5
        how = f" with {dyt.functional.instruction_set()}" if backend == "cpu" else ""
        text = f"works{how}" if right else f"computes wrongly: off by {off:.1g}"
        yield Finding(backend, text, "ok" if right else "problem")
    reason = dyt.bind()
    yield Finding("binding", reason or "works", _note(reason is not None))


def _plugins(found: Discovery) -> Iterator[Finding]:
    """Domains and extensions, each imported in a process as a run would import it."""
    executor = LocalExecutor(TRAINING)
    for name in found.names:
        about, loaded = f"domain {name}", found.loaded(name)
        problem = loaded.problem
        if loaded.domain is not None:
            problem = _fails(executor, partial(_import_all, loaded.domain.preload))
        yield Finding(about, problem or found.origin(name), "problem" if problem else "ok")
        yield from (Finding(about, warning, "note") for warning in loaded.warnings)
    for kind, point in EXTENSION_POINTS.items():
        broken = {
            name: _fails(executor, partial(_check, kind, name))
            for name in point.names()
            if name not in point.own
        }
        for name, problem in broken.items():
            if problem:
                yield Finding(f"{kind} {name}", problem.removeprefix("UserError: "), "problem")
        whole = [name for name in point.names() if not broken.get(name)]
        yield Finding(f"{kind}s", ", ".join(whole) or "none")


def _fails(executor: LocalExecutor, job: Callable[[Any], Any]) -> str:
    """Why the job fails; empty if it succeeds."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with executor.run(job, Path(folder) / "log", Limits(seconds=_IMPORT_S)) as running:
                list(running)
        except JobFailed as failure:
            return str(failure)
    return ""


def _import_all(modules: Sequence[str], tell: Any) -> None:
    for module in modules:
        importlib.import_module(module)


def _check(kind: str, name: str, tell: Any) -> None:
    check(kind, name, discover())


def _tracking(uri: str | None, workspace: Workspace) -> Finding:
    """Whether the MLflow store answers; none is created."""
    address = uri or workspace.tracking_uri
    try:
        if address.startswith(("http://", "https://")):
            with urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=_ANSWER_S):
                return Finding("MLflow", f"{address} answers")
        if address.startswith("sqlite:///"):
            return _database(Path(address.removeprefix("sqlite:///")))
        from mlflow import MlflowClient

        MlflowClient(address).search_experiments(max_results=1)
    except Exception as error:  # each kind of store raises its own
        reason = (str(error) or type(error).__name__).splitlines()[0]
        text = f"{address} does not answer ({reason}): start it, or fix --tracking-uri"
        return Finding("MLflow", text, "problem")
    return Finding("MLflow", f"{address} answers")


def _database(path: Path) -> Finding:
    if not path.exists():
        return Finding("MLflow", f"{path} does not exist yet: the first run makes it")
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        (runs,) = connection.execute("SELECT count(*) FROM runs").fetchone()
    finally:
        connection.close()
    return Finding("MLflow", f"{path} holds {runs} runs")


def _note(when: bool) -> State:
    return "note" if when else "ok"
