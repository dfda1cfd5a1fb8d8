"""What one run of a benchmark is, and its identity.

A `Task` is everything that all variants of a comparison share; a `Run` is a task with a variant.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

__all__ = ["Task", "digest"]

AA = "A/A"  # label of the first variant's second copy, timed as the noise floor
NATIVE = "native"  # the variant that leaves the model as its library builds it


# Options that most tasks leave alone, and what they are then: part of an identity only if set.
_UNSET: Mapping[str, object] = {
    "skip_bad_files": False,
    "devices": 1,
    "nodes": 1,
    "strategy": "ddp",
    "micro_batch": None,
    "optimizer": "adamw",
    "checkpoint_digest": "",
    "options": (),
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """All that is held equal in a comparison: model, data set, seed and budget."""

    domain: str
    model: str
    dataset: str
    checkpoint: Path | None = None  # folder of the user's own model, for models that take one
    path: Path | None = None  # folder or file of the user's own data, for data sets that take one
    options: tuple[tuple[str, str], ...] = ()  # the data set's own, sorted: ("label", "price")
    seed: int = 0
    steps: int  # optimiser steps
    batch_size: int  # samples a step
    learning_rate: float  # peak, after warm-up
    optimizer: Literal["adamw", "muon"] = "adamw"  # with the preset's options
    training: str = "default"  # the training preset, by its name in the domain's `trainings`
    train_samples: int | None = None  # upper limit, a fixed subset; None: all
    # Which part of the validation data judges: "tuning" for trials of rates, "test" for what is
    # said of the rates that they chose; "": all of it.
    split: Literal["", "tuning", "test"] = ""
    skip_bad_files: bool = False  # leave out files that cannot be read; else they are an error
    metrics: tuple[tuple[str, str], ...] = ()  # added by packages: name, digest of its code
    overrides: str = ""  # where the suite differs from the model's defaults: "lr=0.002 n=1000"
    val_every: int  # steps between two validations; divides steps
    devices: int = 1  # of a machine that train one run together, a process each
    nodes: int = 1  # machines that do, with so many devices each
    strategy: Literal["ddp", "fsdp2"] = "ddp"  # how they do
    # Samples that go through the model at once, in each process; None: all of its part of a batch;
    # "auto": as many as its memory holds.
    micro_batch: int | Literal["auto"] | None = None
    checkpoint_digest: str = ""  # content of the checkpoint's files
    data_digest: str = ""  # content of the data set's files
    code_digest: str = ""  # of the code that decides the result
    preset_digest: str = ""  # of the training preset and the model's exclusions

    @property
    def subject(self) -> str:
        """What is trained on what: ``vision/vit/digits``."""
        return f"{self.domain}/{self.model}/{self.dataset}"

    @property
    def budget(self) -> str:
        """The subject with its number of steps: ``vision/vit/digits, 1000 steps``."""
        return f"{self.subject}, {self.steps} steps"

    @property
    def group(self) -> str:
        """The name that tasks of all seeds share: ``vision/vit/digits``, ``... lr=0.002``."""
        return " ".join([self.subject, *self._apart()])

    @property
    def label(self) -> str:
        """A short name for people: ``vision/vit/digits/s0``."""
        return " ".join([f"{self.subject}/s{self.seed}", *self._apart()])

    def _apart(self) -> list[str]:
        """What tells two tasks of one model and data set apart."""
        name = "" if self.checkpoint is None else self.checkpoint.name
        return [text for text in (name, self.overrides) if text]

    def option(self, name: str) -> str | None:
        """The data set's option of that name; None where the suite does not give it."""
        return dict(self.options).get(name)

    @property
    def processes(self) -> int:
        """How many train it together."""
        return self.devices * self.nodes

    @property
    def at_once(self) -> int:
        """Samples that go through the model at once in a process; with "auto" at most so many."""
        part = self.batch_size // self.processes
        return self.micro_batch if isinstance(self.micro_batch, int) else part

    @cached_property
    def identity(self) -> str:
        """Hash of all that determines the task's data and start.

        Neither the location of files nor metrics of the trained model are part of it.
        """
        apart = {
            "path",
            "checkpoint",
            "metrics",
            *(name for name in _UNSET if not self.is_set(name)),
        }
        return digest({key: value for key, value in _fields(self).items() if key not in apart})

    def is_set(self, name: str) -> bool:
        """Whether an option that most tasks leave alone has another value than by default."""
        return bool(getattr(self, name) != _UNSET[name])


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What stands where the normalization layers stood, and how it is started."""

    name: str = NATIVE
    alpha_init_value: float | None = None  # None: the layer's own default
    recipe: str | None = None  # of `dyt.recipes`: alpha by site, and what changes with the norms
    learning_rate: float | None = None  # its own peak; None: the task's, which is native's
    tuned: bool = False  # whether that rate was chosen for this variant by trials
    code_digest: str = ""  # of a layer or recipe that the task's code digest does not cover

    @property
    def label(self) -> str:
        """``dyt``, or with options ``dyt alpha=0.8``, ``dyt calibrated``."""
        options = []
        if self.alpha_init_value is not None:
            options.append(f"alpha={self.alpha_init_value:g}")
        if self.recipe is not None:
            options.append(self.recipe)
        if self.tuned:
            options.append("tuned")
        elif self.learning_rate is not None:
            options.append(f"lr={self.learning_rate:g}")
        return " ".join([self.name, *options])

    @property
    def key(self) -> str:
        """The label, with the digest of code that a package adds."""
        return f"{self.label}@{self.code_digest}" if self.code_digest else self.label

    @property
    def is_native(self) -> bool:
        """Whether it is the baseline; not a control that adds something beside the norms."""
        return self.name == NATIVE and self.recipe is None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run of the benchmark."""

    task: Task
    variant: Variant = field(default_factory=Variant)

    @property
    def label(self) -> str:
        """A short name for people: ``vision/vit/digits/s0 dyt``."""
        return f"{self.task.label} {self.variant.label}"

    @cached_property
    def identity(self) -> str:
        """Hash of everything that determines the outcome. Resuming and skipping compare it."""
        unset = ("code_digest", "learning_rate", "tuned")  # which most variants are
        variant = {k: v for k, v in _fields(self.variant).items() if k not in unset or v}
        return digest(self.task.identity, variant, *self.task.metrics)

    def parameters(self) -> dict[str, str | int | float]:
        """As a flat mapping, for MLflow and tables; unset options are left out."""
        flat: dict[str, str | int | float] = {"variant": self.variant.label}
        for key, value in _fields(self.task).items():
            if key == "metrics":
                value = ", ".join(name for name, _ in self.task.metrics)
            if key in _UNSET and not self.task.is_set(key):
                continue
            if key == "options":
                value = json.dumps(dict(value))
            if value not in (None, ""):
                flat[key] = str(value) if isinstance(value, Path) else value
        if self.variant.alpha_init_value is not None:
            flat["alpha_init_value"] = self.variant.alpha_init_value
        if self.variant.recipe is not None:
            flat["recipe"] = self.variant.recipe
        if self.variant.learning_rate is not None:
            flat["variant_learning_rate"] = self.variant.learning_rate
        return flat


def run_of(parameters: Mapping[str, Any]) -> Run:
    """The run whose `Run.parameters` these are, without added metrics: training has none."""
    names = {each.name for each in fields(Task)} - {"metrics"}
    own = {key: value for key, value in parameters.items() if key in names}
    own.update({key: Path(own[key]) for key in ("checkpoint", "path") if key in own})
    own["options"] = tuple(sorted(json.loads(own.get("options") or "{}").items()))
    name, *options = str(parameters["variant"]).split(" ")  # its label, options and all
    variant = Variant(
        name=name,
        alpha_init_value=parameters.get("alpha_init_value"),
        recipe=parameters.get("recipe"),
        learning_rate=parameters.get("variant_learning_rate"),
        tuned="tuned" in options,
    )
    return Run(task=Task(**own), variant=variant)


def _fields(of: Task | Variant) -> dict[str, Any]:
    """The values by name; `dataclasses.asdict` would copy each, for thousands of runs."""
    return {each.name: getattr(of, each.name) for each in fields(of)}


def digest(*parts: object) -> str:
    """A short hexadecimal hash of JSON-able parts; equal parts, equal digest, on any machine."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
