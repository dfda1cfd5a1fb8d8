"""What a suite file may hold: keys, types and defaults, as pydantic models."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dyt_bench.discovery.domains import unknown
from dyt_bench.discovery.extensions import LOCAL
from dyt_bench.errors import UserError, quoted
from dyt_bench.plugin.task import NATIVE
from dyt_bench.suite.document import Document, Place
from dyt_bench.suite.values import (
    AboveZero,
    Count,
    Duration,
    Name,
    Number,
    Seed,
    Size,
    Text,
    UserPath,
)

# Keys of earlier versions -> keys of this one, for the message about an old key.
_KEY = 60  # characters of an unknown key in a message
RENAMED = {"norms": "variants", "cell_timeout": "run_timeout", "cell_memory": "run_memory"}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class VariantEntry(_Strict):
    """A variant; in a suite file a name alone, or a mapping with options."""

    name: Text
    alpha_init_value: AboveZero | None = None
    recipe: Text | None = None
    learning_rate: AboveZero | None = None  # None: the task's
    tuned: bool = False  # written `learning_rate: tuned`: at the rate of `TaskEntry.tuned_rates`

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, given: object) -> object:
        return {"name": given} if isinstance(given, str) else _named_rate(given, tuned=True)


Variants = Annotated[list[VariantEntry], Field(min_length=1)]


class Tuning(_Strict):
    """Trials that choose a learning rate for each variant, with equal effort."""

    # the rates to try; None: the model's own, a third, three times and ten times of it
    rates: Annotated[list[AboveZero], Field(min_length=2, max_length=100)] | None = None
    seeds: Annotated[list[Seed], Field(min_length=1)] = [1000, 1001]  # of the trials alone


MicroBatch = Count | Literal["auto"]  # samples at once, in each process; or as many as fit


class TaskEntry(_Strict):
    """Tasks of one domain: every model with every data set and seed."""

    domain: Text
    models: Annotated[list[Text], Field(min_length=1)] | None = None  # None: the first
    datasets: Annotated[list[Text], Field(min_length=1)] | None = None  # None: the first
    variants: Variants | None = None  # None: the suite's
    checkpoint: UserPath | None = None  # the user's model; relative to the suite file
    path: UserPath | None = None  # the user's data; relative to the suite file
    options: dict[str, Text | int] = {}  # of the data set: {label: price}
    seeds: Annotated[list[Seed], Field(min_length=1)] | None = None  # None: the suite's
    steps: Count | None = None  # here and below, None means the model's own
    batch_size: Count | None = None
    learning_rate: AboveZero | None = None
    optimizer: Literal["adamw", "muon"] = "adamw"  # Muon: of the hidden matrices
    tuning: Tuning | None = None  # written `learning_rate: tuned` where it has no options
    tuned_rates: dict[str, AboveZero] = {}  # variant -> the rate that trials chose for it before
    # Whether native has learned all it will: measured with twice the steps, or known not to have.
    plateau: Literal["measured", "missed"] | None = None
    split: Literal["", "tuning", "test"] = ""  # of the validation data; "": all of it
    training: Text | None = None  # a training preset of the domain
    train_samples: Count | None = None  # None: all there are
    val_every: Count | None = None
    skip_bad_files: bool = False  # leave out what cannot be read, and say so in the record
    devices: Count | None = None  # here and below, None means the suite's
    nodes: Count | None = None
    strategy: Literal["ddp", "fsdp2"] | None = None
    micro_batch: MicroBatch | None = None
    expected: dict[str, Number] = {}  # variant -> what a paper reports
    expected_metric: Text = ""  # which metric that is; "": the domain's
    source: Text = ""  # the paper

    @model_validator(mode="before")
    @classmethod
    def _from_tuned(cls, given: object) -> object:
        return _named_rate(given, tuning={})


def _named_rate(given: object, **meaning: object) -> object:
    """The mapping with what ``learning_rate: tuned`` stands for."""
    if isinstance(given, dict) and given.get("learning_rate") == "tuned":
        rest = {key: value for key, value in given.items() if key != "learning_rate"}
        return {**meaning, **rest}
    return given


class ExecutorEntry(BaseModel):
    """Where runs run; in a suite file a name alone, or a mapping with the executor's options."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    name: Text

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, given: object) -> object:
        return {"name": given} if isinstance(given, str) else given

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class SuiteFile(_Strict):
    """A suite file."""

    name: Name
    title: Text = ""
    kind: Literal["training", "efficiency"] = "training"
    variants: Variants = [VariantEntry(name=NATIVE), VariantEntry(name="dyt")]
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0]
    steps: Count | None = None  # for every task that does not give its own
    devices: Count = 1  # that train one run together, for every task that does not give its own
    nodes: Count = 1  # machines that do, with so many devices each
    strategy: Literal["ddp", "fsdp2"] = "ddp"
    micro_batch: MicroBatch | None = None  # None: a process's part of a batch at once
    metrics: list[Text] = []  # added by packages, taken at the end of each run
    sections: list[Text] = []  # of the report, added by packages
    compile: bool = False  # whether steps are timed under torch.compile, too
    executor: ExecutorEntry = ExecutorEntry(name=LOCAL)  # where runs run
    run_timeout: Duration | None = None  # "2h"; None: no limit
    run_memory: Size | None = None  # "8GiB"; None: no limit
    tasks: Annotated[list[TaskEntry], Field(min_length=1)]


def validate(document: Document) -> SuiteFile:
    """The suite file that ``document`` holds.

    Raises:
        UserError: it is no mapping, or has an unknown key or a value of the wrong type: one
            sentence with the line, what was expected and the nearest match.
    """
    content = document.content
    if not isinstance(content, dict):
        keys = ", ".join(SuiteFile.model_fields)
        what = "is empty" if content is None else "is not a mapping"
        raise UserError(f"{document.path} {what}: a suite has the keys {keys}")
    try:
        return SuiteFile.model_validate(content)
    except ValidationError as error:
        # A mistyped key is both unknown and, where required, missing: the typo is the cause.
        first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        where = list(first["loc"])
        if first["type"] == "extra_forbidden":
            raise document.error(where, _unknown_key(where)) from None
        text = first["msg"].removeprefix("Value error, ")
        got = "" if first["type"] == "missing" else f", got {quoted(first['input'])}"
        raise document.error(where, f"{text[0].lower()}{text[1:]}{got}") from None


def _unknown_key(where: Place) -> str:
    level: type[_Strict] = SuiteFile
    if "variants" in where:
        level = VariantEntry
    elif "tuning" in where:
        level = Tuning
    elif where[0] == "tasks":
        level = TaskEntry
    key, known = where[-1], list(level.model_fields)
    new = RENAMED.get(str(key))
    if new in known:
        return f"the key {quoted(key)} is now called {quoted(new)}: rename it"
    # A key is a word: of anything longer, its beginning.
    return unknown("key", key if len(str(key)) <= _KEY else f"{str(key)[:_KEY]}...", known)
