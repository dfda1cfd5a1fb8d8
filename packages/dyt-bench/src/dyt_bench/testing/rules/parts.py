"""Rules about the data and modules that a domain builds, before training."""

from itertools import islice
from typing import Any

from dyt_bench.errors import quoted
from dyt_bench.testing.checked import BRIEFLY, STEPS, CheckedDomain
from dyt_bench.testing.rule import Broken, Remark, rule
from dyt_bench.testing.rules.declared import contract

OTHER_SEED = 1


@rule(
    says="build_data returns a LightningDataModule and build_module a LightningModule.",
    why="The harness trains them with Lightning's Trainer.",
    needs=(contract,),
)
def parts(checked: CheckedDomain) -> None:
    from lightning.pytorch import LightningDataModule, LightningModule

    task, domain = checked.task(), checked.domain
    with checked.calling("build_data"):
        data = domain.build_data(task)
    with checked.calling("build_module"):
        module = domain.build_module(task, data)
    for call, built, kind in (
        ("build_data", data, LightningDataModule),
        ("build_module", module, LightningModule),
    ):
        if not isinstance(built, kind):
            raise Broken(
                f"{call} returned a {type(built).__name__}.",
                f"Let {call} return a lightning.pytorch.{kind.__name__}.",
            )


@rule(
    says="The module's units_per_sample is an integer above 0.",
    why="Throughput is reported in the domain's units a second.",
    needs=(parts,),
)
def units(checked: CheckedDomain) -> None:
    _, module, _ = checked.parts
    value: Any = getattr(module, "units_per_sample", "missing")
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise Broken(
            f"units_per_sample is {quoted(value)}.",
            "Set the module's units_per_sample to how many of the domain's units one sample "
            "holds: 1 for an image, its length for a sequence.",
        )


@rule(
    says="The same seed gives the same first weights and batches, another seed gives others.",
    why="Runs of equal seeds are paired to tell a difference between variants from luck.",
    needs=(parts,),
)
def seeds(checked: CheckedDomain) -> None:
    weights, batches = _start(checked)
    again = _start(checked)
    for what, first, second in (
        ("weights", weights, again[0]),
        ("batches", batches, again[1]),
    ):
        if first != second:
            raise Broken(
                f"The {what} differed between two builds of one task.",
                "Draw from torch's, numpy's or Python's global generator, which are seeded before "
                "each build, or from a generator of task.seed, and from nothing else.",
            )
    other_weights, other_batches = _start(checked, seed=OTHER_SEED)
    if other_batches == batches:
        raise Broken(
            f"The first {len(batches)} batches were the same for seed 0 and seed {OTHER_SEED}.",
            "Shuffle the training samples by task.seed, as "
            "dyt_bench.plugin.data.SeededDataModule does.",
        )
    if other_weights == weights:
        raise Remark(
            "All seeds have the same first weights: right for a pretrained model, else a mistake."
        )


def _start(checked: CheckedDomain, **changes: Any) -> tuple[str, list[str]]:
    """Hashes of the first weights, and of each of the first batches."""
    from dyt_bench.testing.hashes import digest
    from dyt_bench.training.build import weights_digest

    data, module, norms = checked.build(**changes)
    with checked.calling("the training data"):
        data.prepare_data()
        data.setup("fit")
        batches = [digest(batch) for batch in islice(data.train_dataloader(), STEPS)]
    return weights_digest(module, norms), batches


@rule(
    says="A validation pass repeated on the same weights logs the same numbers, bit by bit.",
    why="Learning curves compare passes: noise between them would look like learning.",
    needs=(units,),
)
def validation(checked: CheckedDomain) -> None:
    from dyt_bench.training.trainer import make_trainer

    data, module, _ = checked.build()
    task = checked.task()
    trainer = make_trainer(task, checked.domain.training(task), False, [], changes=BRIEFLY)
    passes: list[dict[str, float]] = []
    with checked.calling("a validation pass"):
        for _ in range(2):
            trainer.validate(module, datamodule=data, verbose=False)
            passes.append({name: float(v) for name, v in trainer.callback_metrics.items()})
    first, second = passes
    # As text, in which NaN equals NaN.
    moved = [name for name in first if repr(first[name]) != repr(second.get(name))]
    if moved:
        name = moved[0]
        raise Broken(
            f"{name} was {quoted(first[name])} and then {quoted(second.get(name))}.",
            "Take what a validation pass draws from a generator of its own with a fixed seed, "
            "set anew in on_validation_epoch_start, and reset there whatever it sums up.",
        )
