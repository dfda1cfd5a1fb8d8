"""The contract of a domain: what a plug-in implements, and nothing else.

A domain is one object, found through the entry-point group ``dyt_bench.domains``::

    [project.entry-points."dyt_bench.domains"]
    weather = "dyt_weather:domain"

Importing the object must be cheap: `dyt-bench domains` and `dyt-bench plan` read it without
torch. Keep torch, Lightning and model libraries inside ``build_data`` and ``build_module``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from dyt_bench.errors import DataError as DataError
from dyt_bench.errors import entry as entry
from dyt_bench.errors import listed as listed
from dyt_bench.errors import quoted as quoted
from dyt_bench.errors import reason as reason
from dyt_bench.errors import shortened as shortened
from dyt_bench.plugin.fetch import Fetch as Fetch
from dyt_bench.plugin.task import Task

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule, LightningModule

__all__ = [
    "API_VERSION",
    "OLDEST_API_VERSION",
    "DataError",
    "Dataset",
    "Decays",
    "Domain",
    "Fetch",
    "Metric",
    "Model",
    "Reference",
    "Role",
    "TrainingPreset",
    "entry",
    "listed",
    "quoted",
    "reason",
    "shortened",
]

API_VERSION = 2  # of this contract
OLDEST_API_VERSION = 1  # that a plugin may still be written for
ENTRY_POINT_GROUP = "dyt_bench.domains"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """The validation metric the domain is judged by."""

    name: str  # as logged by the module, for example "val/acc"
    mode: Literal["min", "max"]  # which direction is better
    title: str  # for tables and plots, with its unit: "top-1 accuracy", "loss (nats/base)"
    margin: float  # a difference this small makes two models equivalent, in the metric's unit
    reference: str = ""  # the method of `Domain.reference_score`: "majority", "Markov chain"

    def better(self, a: float, b: float) -> bool:
        """Whether value ``a`` is better than ``b``."""
        return a < b if self.mode == "min" else a > b


Role = Literal["blind", "modest", "strong"]


@dataclass(frozen=True)
class Reference:
    """What a simple method reaches in the domain's metric, on the same split.

    By its role: "blind" does not look at the input (majority class, frequencies of tokens);
    "modest" is what any trained model should beat (logistic regression, a Markov chain of order
    2); "strong" is a simple method that a well-trained model meets (1-NN, a chain of order 5).
    """

    name: str  # of the method, for tables: "logistic regression of the pixels"
    score: float  # in the unit of `Metric`
    role: Role


# Which parameters weight decay takes.
Decays = Literal["matrices", "all", "not norms"]


@dataclass(frozen=True, kw_only=True)
class TrainingPreset:
    """Optimiser, schedule, precision and augmentation of a paper; a `Model` has budget and rate.

    `dyt_bench.plugin.optim.adamw` reads the fields of optimiser and schedule, the harness reads
    ``clip_norm``, ``precision`` and ``ema_decay``, and the domain its own ``options``.
    """

    summary: str  # whose preset; where it is scaled down, what was changed
    source: str = ""  # "arXiv 2201.03545, table 5"
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.05
    decays: Decays = "matrices"  # which parameters, see `dyt_bench.plugin.optim.decaying`
    warmup: float = 0.1  # share of the steps until the peak
    schedule: Literal["cosine", "linear", "constant"] = "cosine"  # after the peak
    final_rate: float = 0.0  # share of the peak at the end
    clip_norm: float | None = None  # upper limit of a step's gradient norm; None: no clipping
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true"] = "32-true"
    ema_decay: float | None = None  # of the moving average of weights that validation uses
    # the domain's own, each documented where it is read: {"drop_path": 0.1, "mixup": 0.8}
    options: Mapping[str, float | str] = field(default_factory=dict)
    small: str = ""  # the preset that `--shrink` trains by in its place; "": itself


@dataclass(frozen=True, kw_only=True)
class Model:
    """An architecture at one size, with the budget it is trained for by default."""

    summary: str  # one line: family and size
    library: str  # that builds it: "timm", "transformers", ...
    native_norm: str  # what the variant "native" has: "LayerNorm", "RMSNorm"
    steps: int  # optimiser steps
    batch_size: int  # samples a step
    learning_rate: float  # peak, after warm-up
    training: str = "default"  # its preset, one of the domain's `trainings`
    exclude: tuple[str, ...] = ()  # glob patterns of norms the paper leaves as they are
    # Of a model that starts from trained weights: the files read, given the user's checkpoint, or
    # given None those that the domain's own start is made from. Recipes that calibrate then fit
    # the layers to the trained norms.
    checkpoint: Callable[[Path | None], Iterable[Path]] | None = None
    small: str = ""  # the model of its family that `--shrink` trains in its place; "": itself
    # How several devices may train it together. Of one that takes "fsdp2", the module has a method
    # ``blocks()``: the parts whose weights are gathered one at a time.
    strategies: tuple[Literal["ddp", "fsdp2"], ...] = ("ddp",)
    # What `dyt-bench check` expects of the model with its native norm:
    step_s: float = 10.0  # upper limit of a training step on two cores, seconds
    reference_steps: int | None = None  # steps that beat the reference score; None: all


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set: what it is, where it comes from, and the files it is read from."""

    summary: str  # one line: content and size
    source: str  # where it comes from, so that a reader can find it
    licence: str
    files: Callable[[Path | None], Iterable[Path]]  # the files read, given the user's path
    takes_path: bool = False  # whether the user names a folder or file
    # option of a task -> what it says: {"label": "the column that is predicted"}
    options: Mapping[str, str] = field(default_factory=dict)
    # Given the user's path and a task's options, raises DataError where a value is none that the
    # option can have or the files have no such column. Called when a suite is read, so that it
    # reads a header and no more.
    check_options: Callable[[Path | None, Mapping[str, str]], None] | None = None
    small: str = ""  # the embedded data set that `--shrink` takes in its place; "": itself
    fetch: Fetch | None = None  # how `dyt-bench data fetch` gets it, if it can


class Domain(ABC):
    """One kind of model and data. Subclass it, fill in the fields, build the two parts.

    The harness does the rest: it seeds, builds, swaps the norms, trains with Lightning,
    times, validates and records.
    """

    # The contract's version that the plug-in was written for: a number, not `API_VERSION`, whose
    # value changes. Without it, version 1 is assumed.
    api_version: ClassVar[int] = 1

    name: ClassVar[str]  # lower case, letters, digits and hyphens: "vision"
    summary: ClassVar[str]  # one line
    unit: ClassVar[str]  # what a sample is counted in: "image", "token", "base"
    metric: ClassVar[Metric]
    models: ClassVar[Mapping[str, Model]]  # the first is the default
    datasets: ClassVar[Mapping[str, Dataset]]  # the first is the default
    trainings: ClassVar[Mapping[str, TrainingPreset]] = {
        "default": TrainingPreset(summary="AdamW, cosine")
    }
    preload: ClassVar[tuple[str, ...]] = ()  # heavy modules to import once for all its runs

    @abstractmethod
    def build_data(self, task: Task) -> LightningDataModule:
        """The data of ``task.dataset``, in batches of ``task.batch_size``.

        Train batches may be shuffled, by ``task.seed`` and nothing else, so that every variant
        sees the same batches; validation batches are always the same. Train and validation
        share no sample.

        Raises:
            DataError: ``task.path`` does not hold what the data set needs.
        """

    @abstractmethod
    def build_module(self, task: Task, data: LightningDataModule) -> LightningModule:
        """The model of ``task.model`` with native norms, its loss and its optimiser.

        ``training_step`` returns the loss. A validation pass logs ``val/loss`` and the domain's
        metric; random numbers come from a generator of its own with a fixed seed.
        ``configure_optimizers`` reads ``task.learning_rate``, ``task.steps`` and
        ``self.training(task)``, and returns one optimiser, alone or under "optimizer".
        Lightning sees the budget as one epoch, made of repeated passes over the training loader.

        The module has an integer attribute ``units_per_sample``: how many of the domain's units
        one sample holds (tokens in a sequence; 1 for an image). One whose steps may leave
        parameters without a gradient, as dropped layers do, says so by ``skips_layers = True``:
        several processes then expect it. Norms are swapped by the harness afterwards, never here.
        """

    def training(self, task: Task) -> TrainingPreset:
        """The preset that ``task`` is trained by."""
        return self.trainings[task.training]

    def reference_score(self, task: Task, data: LightningDataModule) -> float | None:
        """The score of ``metric.reference`` on the validation data; None if it has no method.

        A model that does not beat it has learned nothing. ``data`` is set up for fitting. A
        domain that implements `references` needs none.
        """
        return None

    def references(self, task: Task, data: LightningDataModule) -> Sequence[Reference]:
        """What simple methods reach on the validation data, at most one a role.

        By default, `reference_score` as the modest one. ``data`` is set up for fitting. The
        scores depend on the data alone, not on budget and rate: a suite takes them once for all
        variants, budgets and rates of a task.
        """
        score = self.reference_score(task, data)
        if score is None:
            return ()
        return (Reference(self.metric.reference or "reference score", score, "modest"),)

    def propose(
        self, checkpoint: Path, data: Path, options: Mapping[str, str], model: str | None
    ) -> Mapping[str, Any] | None:
        """A suite's task that fine-tunes ``checkpoint`` on ``data``, for `dyt-bench finetune`.

        Args:
            options: of the data set, as the user gave them.
            model: the name in ``models`` that the user asked for; None: what suits the data.

        Returns:
            Keys of a task in a suite file: ``models`` and ``datasets``, each with one name, and
            ``steps``, ``batch_size``, ``learning_rate`` where the checkpoint or the data ask for
            others than the model's. None if this domain fine-tunes no such checkpoint on such data.

        Raises:
            DataError: the checkpoint or the data cannot be read, or one does not fit the other.
        """
        return None

    def save_model(
        self, task: Task, module: LightningModule, data: LightningDataModule, folder: Path
    ) -> None:
        """Write the trained model of ``module`` so that it can be used without the harness.

        A converted model is written by `dyt.save`. A domain that implements `propose` implements
        this too.
        """
        raise NotImplementedError

    def evaluate(
        self, task: Task, module: LightningModule, data: LightningDataModule, folder: Path
    ) -> Mapping[str, float]:
        """Metrics of the trained ``module`` that are too expensive for every validation.

        Called after training, in eval mode and with gradients enabled. Random numbers come from a
        generator of its own with a fixed seed. Values are recorded as ``eval/<name>``. PNG files
        in ``folder``, which exists and is empty, go to the report and to MLflow.
        """
        return {}
