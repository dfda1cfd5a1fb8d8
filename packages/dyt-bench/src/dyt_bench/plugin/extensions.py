"""What packages may add beside domains: the contracts, and nothing else.

Each is an entry point of a group; its name is what suites and reports call it::

    [project.entry-points."dyt_bench.metrics"]
    generalization-gap = "dyt_extras:GENERALIZATION_GAP"

============================  =============================================
group                         what the entry point names
============================  =============================================
``dyt_bench.variants``        a class: `LayerClass`
``dyt_bench.recipes``         a `dyt.Recipe`, or what `dyt.convert` takes for one
``dyt_bench.datasets``        an `AddedDataset`
``dyt_bench.metrics``         an `AddedMetric`
``dyt_bench.sections``        a function: `MakeSection`
``dyt_bench.executors``       a class: `Executor`, of `dyt_bench.executors.contract`
``dyt_bench.mirrors``         a class: `MakeMirror`, of `dyt_bench.plugin.mirrors`
============================  =============================================

Names are lower case: letters, digits and hyphens. Nothing here is used unless a suite names it.
Variants and recipes are imported where they are used; the rest is imported when a suite that names
it is read, so keep torch and matplotlib inside the functions. The contracts have the version of
`dyt_bench.plugin.domain.API_VERSION`; an object or class says by ``api_version`` which one it
was made for, and 1 if it says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dyt_bench.plugin.fetch import Fetch
from dyt_bench.plugin.task import Task

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule, LightningModule
    from matplotlib.axes import Axes
    from torch import nn

    from dyt_bench.plugin.reporting import CollectedRun, CollectedStanding, Look

__all__ = [
    "AddedDataset",
    "AddedMetric",
    "Collected",
    "LayerClass",
    "MakeSection",
    "Plot",
    "Section",
    "Trained",
]


class LayerClass(Protocol):
    """A layer that takes a norm's place: called as `dyt.DynamicTanh` is, it returns the module.

    ``alpha_init_value`` is given only where a suite or a recipe chooses alpha. `dyt.convert`
    copies the norm's values into the parameters called ``weight`` and ``bias``, if there are any;
    with ``channels_last=False`` the input is ``(N, C, ...)``. For a function of your own,
    `dyt.register_function` it and subclass `dyt.PointwiseNorm`: alpha and saturation are then
    recorded, and calibrated recipes fit the layer. A kernel is the class's own affair: its
    ``forward`` calls it where it applies, and a formula elsewhere.
    """

    def __call__(
        self,
        normalized_shape: Sequence[int],
        *,
        elementwise_affine: bool,
        bias: bool,
        channels_last: bool,
        device: Any,
        dtype: Any,
    ) -> nn.Module: ...


@dataclass(frozen=True, kw_only=True)
class AddedDataset:
    """A data set of a domain, lying as files in a layout that the domain reads already."""

    domain: str  # whose it is: "vision"
    reads_as: str  # the domain's data set with ``path`` whose layout the files have: "folder"
    summary: str  # one line: content and size
    source: str  # where it comes from, so that a reader can find it
    licence: str
    # The folder or file, or a DataError that says how to get it. None: where ``fetch`` puts it.
    path: Callable[[], Path] | None = None
    fetch: Fetch | None = None  # how `dyt-bench data fetch` gets it, if it can be had
    api_version: int = 1


@dataclass(frozen=True)
class Trained:
    """A run whose training is over."""

    task: Task
    module: LightningModule  # trained, in eval mode; what a metric changes in it stays changed
    data: LightningDataModule  # set up for fitting
    rows: Sequence[Mapping[str, float]]  # all that was logged, each with its "step" and "time"


@dataclass(frozen=True, kw_only=True)
class AddedMetric:
    """A number taken once, at the end of a run, and recorded as ``eval/<name>``.

    Use a fixed seed. If ``compute`` raises, or returns no finite number, the run has no such
    metric, and its log and the report say why.
    """

    title: str  # for tables, with its unit: "validation minus training loss (nats)"
    mode: Literal["min", "max"]  # which direction is better
    compute: Callable[[Trained], float]
    domains: tuple[str, ...] = ()  # whose runs have it; empty: every domain's
    api_version: int = 1


@dataclass(frozen=True)
class Collected:
    """What a section of the report is made from; read it only."""

    title: str  # the suite's
    runs: Sequence[CollectedRun]  # every run that has ended, failed and diverged ones too
    standings: Sequence[CollectedStanding]  # every variant against the baseline, by group


@dataclass(frozen=True)
class Plot:
    """A figure: ``draw`` is called once for each page, with that page's looks by variant."""

    caption: str
    draw: Callable[[Axes, Mapping[str, Look]], None]


@dataclass(frozen=True)
class Section:
    """A section of README.md and report.html."""

    title: str
    text: str = ""  # Markdown with tables; report.html shows HTML and pictures in it as text
    plots: Sequence[Plot] = ()


class MakeSection(Protocol):
    """Returns a section, or None where there is nothing to say.

    Where it raises, the report has a section that says so.
    """

    def __call__(self, collected: Collected) -> Section | None: ...
