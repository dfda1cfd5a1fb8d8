"""Forecasts for machines that one does not have: memory, time and money of a suite's runs.

Memory is that of the tensors of a step on fake tensors. Time is that of its operations on the
device, by `dyt_bench.scheduling.machines`. Of a run on several devices each computes its
micro-batches one after another. What they send each other, loading, validations and starts are left
out.

All is a forecast, and is said to be one.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dyt_bench.discovery.domains import Discovery
from dyt_bench.executors.contract import JobFailed
from dyt_bench.executors.local import LocalExecutor
from dyt_bench.plugin.task import Run
from dyt_bench.scheduling.forecast import Key, key
from dyt_bench.scheduling.jobs import TRAINING
from dyt_bench.scheduling.machines import (
    DEVICES,
    GIB,
    HERE,
    MATRIX,
    MEMORY,
    Device,
    Machine,
    parse,
    step_s,
)
from dyt_bench.suite.expand import Suite
from dyt_bench.suite.quantities import in_words

if TYPE_CHECKING:
    from dyt_bench.scheduling.work import Work

GATHERED = 0.1  # share of sharded weights that a device holds whole at a time
SPARE = 0.05  # share of a device's memory that the allocator loses between blocks


@dataclass(frozen=True)
class Share:
    """A run on one device: all of a step, or as many samples of it as fit at a time."""

    strategy: str  # "" for one device alone
    devices: int
    micro_batch: int


@dataclass(frozen=True)
class Expected:
    """The forecast of a run."""

    run: Run
    memory: float | None = None  # bytes, with what a process takes before it computes
    step_s: float | None = None
    seconds: float | None = None  # of all its steps
    dollars: float | None = None
    problem: str = ""  # why it does not fit, or why nothing is known
    would_fit: tuple[str, ...] = ()  # on which device, or with which strategy


def forecast_on(
    suite: Suite, found: Discovery, text: str, say: Callable[[str], None]
) -> tuple[Machine, list[Expected]]:
    """Forecast a suite's runs on a machine such as ``h100x8``.

    Raises:
        UserError: there is no such machine.
    """
    name, count = parse(text)
    runs: dict[Key, Run] = {}
    for run in suite.runs:
        runs.setdefault(key(run.parameters()), run)
    modules = [
        m for d in dict.fromkeys(r.task.domain for r in suite.runs) for m in _modules(found, d)
    ]
    executor = LocalExecutor([*TRAINING, "dyt_bench.scheduling.work", *modules])
    machine = Machine(_here(executor) if name == HERE else DEVICES[name], count)
    known: dict[Key, Any] = {}
    for number, (which, run) in enumerate(runs.items(), start=1):
        say(f"forecasting {number} of {len(runs)}: {run.task.group} {run.variant.label}")
        known[which] = _done(executor, partial(_works, run, machine.device))
    return machine, [
        expected(
            run,
            known[key(run.parameters())],
            machine,
            found.domain(run.task.domain).models[run.task.model].strategies,
        )
        for run in suite.runs
    ]


def expected(
    run: Run,
    works: "Sequence[Work] | str",
    machine: Machine,
    strategies: Sequence[str] = ("ddp",),
) -> Expected:
    """The forecast of a run.

    Args:
        works: of its micro-batch; where that does not fit, of two and four samples, too.
        strategies: that its model takes.
    """
    if isinstance(works, str):
        return Expected(run, problem=f"nothing is known: {works}")
    task, device = run.task, machine.device
    if task.processes > machine.count:
        return Expected(run, problem=f"takes {task.processes} devices, there are {machine.count}")
    now = _now(run)
    memory = needed(_held(works[0], now), device)
    step = step_s(works[0].operations, device) * (task.batch_size // task.processes // task.at_once)
    seconds = step * task.steps
    if memory > device.memory and task.micro_batch == "auto":
        least = _share(run, works, device, task.processes, now.strategy)
        memory = device.memory if least is not None else memory
    if memory <= device.memory:
        dollars = seconds / 3600 * device.price * task.processes
        return Expected(run, memory, step, seconds, dollars)
    problem = (
        f"does not fit: it takes {memory / GIB:.1f} GiB, a {device.name} has "
        f"{device.memory / GIB:.0f}"
    )
    would_fit = tuple(fitting(run, works, machine, strategies))
    return Expected(run, memory, problem=problem, would_fit=would_fit)


def _now(run: Run) -> Share:
    task = run.task
    return Share(task.strategy if task.processes > 1 else "", task.processes, task.at_once)


def _held(work: "Work", share: Share) -> float:
    """Bytes of tensors on each device."""
    return work.peak - work.state + _state(work, share)


def _state(work: "Work", share: Share) -> float:
    """Bytes that stay: with ddp a copy of the gradients that is sent, with fsdp2 a share of all."""
    if share.strategy == "fsdp2":
        return work.state / share.devices + GATHERED * work.weights
    return work.state + (work.weights if share.strategy else 0.0)


def needed(tensors: float, device: Device) -> float:
    """Bytes of a device for so many bytes of tensors."""
    return device.base + tensors * (1 + SPARE)


def fitting(
    run: Run, works: "Sequence[Work]", machine: Machine, strategies: Sequence[str]
) -> list[str]:
    """What would make a run fit, cheapest first; a sentence each."""
    found, device = [], machine.device
    if (share := _share(run, works, device, 1, "")) is not None:
        found.append(f"on one {device.name} with micro_batch: {share.micro_batch}")
    count = machine.count if machine.count > 1 else 8
    shares = (_share(run, works, device, count, strategy) for strategy in strategies)
    if (share := next((share for share in shares if share is not None), None)) is not None:
        how = f"strategy: {share.strategy}, micro_batch: {share.micro_batch}"
        found.append(f"on {count} {device.name} with {how}")
    held = _held(works[0], _now(run))
    larger = [d for d in DEVICES.values() if needed(held, d) <= d.memory]
    if larger:
        many = "one" if run.task.processes == 1 else str(run.task.processes)
        found.append(f"as it is on {many} {min(larger, key=lambda device: device.price).name}")
    return found


def _share(
    run: Run, works: "Sequence[Work]", device: Device, count: int, strategy: str
) -> Share | None:
    """The largest part of a batch that fits each of ``count`` devices, if one does."""
    _, two, four = works
    first, each = two.peak - two.state, max(0.0, four.peak - two.peak) / 2
    part = max(1, run.task.batch_size // count)
    while part >= 1:
        share = Share(strategy, count, part)
        held = _state(two, share) + first + (part - 2) * each
        if needed(held, device) <= device.memory:
            return share
        part //= 2
    return None


def table(machine: Machine, found: Sequence[Expected]) -> list[str]:
    """The forecast as text: a line a run, what would fit, and the sum."""
    lines = []
    for each in found:
        about = f"{each.run.identity}  {each.run.label:<40} "
        if each.step_s is None or each.memory is None:
            lines.append(f"{about} {each.problem}".rstrip())
            lines += [f"              it would fit {what}" for what in each.would_fit]
            continue
        lines.append(
            f"{about} {each.memory / GIB:6.1f} GiB  {1e3 * each.step_s:9,.1f} ms a step  "
            f"{in_words(each.seconds or 0.0):>10}" + _price(each.dollars)
        )
    return [*lines, summary(machine, found)]


def summary(machine: Machine, found: Sequence[Expected]) -> str:
    """The sum in a sentence, which says that it is a forecast and of what."""
    known = [each for each in found if each.seconds is not None]
    seconds = sum((each.seconds or 0.0) * each.run.task.processes for each in known)
    dollars = sum(each.dollars or 0.0 for each in known)
    longest = max((each.seconds or 0.0 for each in known), default=0.0)
    shares = (
        ""
        if machine.device.name == HERE
        else (f" at {MATRIX:.0%} of its peak rate and {MEMORY:.0%} of its bandwidth")
    )
    return (
        f"a forecast, not a measurement, for {machine.name}{shares}: {len(known)} of {len(found)} "
        f"runs fit, about {in_words(max(seconds / machine.count, longest))}"
        f"{_price(dollars)}, without loading and validating"
    )


def _price(dollars: float | None) -> str:
    return f"  ${dollars:,.2f}" if dollars else ""


def plain(machine: Machine, found: Sequence[Expected]) -> dict[str, Any]:
    """For programs."""
    return {
        "machine": machine.name,
        "forecast": summary(machine, found),
        "runs": [
            {
                "identity": each.run.identity,
                "label": each.run.label,
                "memory_bytes": each.memory,
                "step_seconds": each.step_s,
                "seconds": each.seconds,
                "dollars": each.dollars,
                "problem": each.problem,
                "would_fit": list(each.would_fit),
            }
            for each in found
        ],
    }


def _modules(found: Discovery, domain: str) -> Sequence[str]:
    return found.domain(domain).preload


def _here(executor: LocalExecutor) -> Device:
    device = _done(executor, _measured)
    if isinstance(device, str):
        raise RuntimeError(device)
    measured: Device = device
    return measured


def _done(executor: LocalExecutor, job: Callable[[Any], Any]) -> Any:
    """What a job returns; or, as text, why it does not."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with executor.run(job, Path(folder) / "log") as running:
                *_, outcome = running
        except JobFailed as failure:
            return str(failure)
    return outcome["value"]


# Jobs import torch in their own process.


def _works(run: Run, device: Device, tell: Any) -> "list[Work]":
    from dyt_bench.scheduling.work import work_of

    work = work_of(run)
    if needed(_held(work, _now(run)), device) <= device.memory:
        return [work]
    return [work, work_of(run, 2), work_of(run, 4)]


def _measured(tell: Any) -> Device:
    import torch

    from dyt_bench.scheduling.here import measured_here

    torch.set_num_threads(1)
    return measured_here()
