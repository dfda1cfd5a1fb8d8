"""Rules about runs that are trained for a few steps, as the harness trains them."""

import math
import pickle
from typing import TYPE_CHECKING

from dyt_bench.discovery.extensions import VARIANTS, variant_names
from dyt_bench.errors import quoted
from dyt_bench.executors.contract import JobFailed
from dyt_bench.plugin.task import Variant
from dyt_bench.testing.checked import STEPS, CheckedDomain, TrainedRun
from dyt_bench.testing.rule import Broken, rule
from dyt_bench.testing.rules.parts import seeds, units

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

CUT_AFTER = STEPS // 2 + 1  # one step after a validation, so that its sums are restored, too


@rule(
    says=f"With the native norm the model trains for {STEPS} steps, and every loss is finite.",
    why="All other variants are compared with it.",
    needs=(units,),
)
def trains(checked: CheckedDomain) -> None:
    _check_finite(checked.run(), "the native norm")


@rule(
    says="The domain and a task pickle, and train in a process of their own.",
    why="The harness gives every run a process, so that none can harm another.",
    needs=(trains,),
)
def process(checked: CheckedDomain) -> None:
    try:
        pickle.dumps(checked.domain)
    except Exception as error:  # pickle raises whatever an object's own code does
        raise Broken(
            f"The domain does not pickle: {error}.",
            "Define its class at the top of a module, and build data and models in build_data "
            "and build_module only.",
        ) from None
    try:
        checked.run_elsewhere()
    except JobFailed as failure:
        raise Broken(
            f"In a process of its own the same training failed: {failure} ({checked.last_line()}).",
            "Let build_data and build_module depend on the task alone, not on what this process "
            "has imported or opened before.",
        ) from None


@rule(
    says="A run that is trained twice, in two processes, has the same weights, batches and "
    "losses, bit by bit.",
    why="Runs that cannot be repeated can neither be compared nor resumed.",
    needs=(process, seeds),
)
def repeat(checked: CheckedDomain) -> None:
    change = (
        "Draw everything from the global generators or from task.seed; look for hash(), the "
        "clock, process numbers, orders of sets and of os.listdir, and operations without a fixed "
        "order of sums."
    )
    _check_same(checked.run(), checked.run_elsewhere(), "in another process", change)


@rule(
    says=f"Training that is interrupted after step {CUT_AFTER} and resumed has the curve of "
    "uninterrupted training, bit by bit.",
    why="Long runs are interrupted, and their numbers must not show it.",
    needs=(repeat,),
)
def resume(checked: CheckedDomain) -> None:
    resumed = checked.run_cut_off(CUT_AFTER)
    change = (
        "Keep what training changes in parameters, buffers or the module's state_dict; neither in "
        "plain attributes nor in globals."
    )
    if resumed.result.facts.get("resumed") != str(CUT_AFTER):
        raise Broken(
            "Training started again, because its checkpoint could not be read: "
            f"{resumed.said or 'no reason given'}.",
            "Let on_save_checkpoint and state dictionaries hold tensors, numbers, strings and "
            "containers of them only.",
        )
    _check_same(checked.run(), resumed, "after the interruption", change)


@rule(
    says="Every installed variant that is a layer can replace the norms and train: finite losses.",
    why="A comparison needs its variants.",
    needs=(trains,),
)
def variants(checked: CheckedDomain) -> None:
    _, module, sites = checked.parts
    if not sites:
        raise Broken(
            f"The model has no norm that can be replaced{_first_reason(module)}.",
            "Build it with norms that `dyt.audit` finds replaceable, LayerNorm or RMSNorm of a "
            "known width, and let Model.exclude leave one of them in.",
        )
    for name in _layers():
        _check_finite(checked.run(Variant(name=name)), name)


def _first_reason(module: "LightningModule") -> str:
    """Why the first norm that the model has cannot be replaced; empty if it has none."""
    import dyt

    return next(
        (f": {site.name}: {site.reason}" for site in dyt.audit(module) if not site.replaceable), ""
    )


@rule(
    says="All variants start from the same weights, norms excepted, and see the same batches.",
    why="Otherwise a difference between variants may come from different starts.",
    needs=(variants, seeds),
)
def same_start(checked: CheckedDomain) -> None:
    native = checked.run().result.facts
    for name in _layers():
        facts = checked.run(Variant(name=name)).result.facts
        for fact in ("weights", "batches"):
            if facts[fact] != native[fact]:
                raise Broken(
                    f"The {fact} of {name} differed from the native norm's: hash "
                    f"{facts[fact]}, expected {native[fact]}.",
                    "Let weights and batches depend on the task and its seed, not on what was "
                    "built or drawn before.",
                )


def _layers() -> list[str]:
    """The variants that fit any model and change its norms alone; others bring a recipe."""
    names = variant_names()[1:]
    return [name for name in names if getattr(VARIANTS.get(name), "recipe", None) is None]


def _check_finite(run: TrainedRun, variant: str) -> None:
    if run.result.status != "finished":
        raise Broken(
            f"With {variant}, {run.result.reason}.",
            "Lower Model.learning_rate, or clip gradients with TrainingPreset.clip_norm, until the "
            "first steps are finite.",
        )


def _check_same(run: TrainedRun, other: TrainedRun, where: str, change: str) -> None:
    for fact in ("weights", "batches"):
        first, second = run.result.facts[fact], other.result.facts[fact]
        if first != second:
            raise Broken(f"The {fact} differed {where}: hash {second}, not {first}.", change)
    for row, other_row in zip(run.numbers(), other.numbers(), strict=False):
        for name, value in row.items():
            if not _same(value, other_row.get(name, math.nan)):
                raise Broken(
                    f"At step {row['step']:g}, {name} was {quoted(value)}, and {where} "
                    f"{quoted(other_row.get(name))}.",
                    change,
                )
    if len(run.rows) != len(other.rows):
        raise Broken(f"There were {len(run.rows)} rows, and {where} {len(other.rows)}.", change)


def _same(value: float, other: float) -> bool:
    return repr(value) == repr(other)
