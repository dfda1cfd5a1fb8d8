"""`learning_rate: tuned`: trials of every variant at the same rates, and the runs that they choose.

Every variant gets the same number of trials, on seeds and a part of the validation data that no
verdict uses. The verdicts' runs train at the rates that the trials chose: native at its best, which
is the task's rate; each variant at native's, as it is swapped in; and each at its own best.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from dyt_bench.plugin.domain import Metric, Model
from dyt_bench.plugin.task import Run, Task, Variant

_PLATEAU_SEEDS = 3
FACTORS = (1 / 3, 1.0, 3.0, 10.0)  # times the model's own rate, where a suite names no rates


@dataclass(frozen=True)
class Tuned:
    """The trials of one model and data set, and the tasks of its verdicts."""

    trials: tuple[Run, ...]
    tasks: tuple[Task, ...]  # one a seed; at the model's own rate until the trials have ended
    variants: tuple[Variant, ...]  # native first
    plateau: bool = False  # whether native trains with twice the steps, too

    @property
    def group(self) -> str:
        return self.tasks[0].group


def tuned(
    tasks: Sequence[Task],
    variants: Sequence[Variant],
    model: Model,
    rates: Sequence[float] | None,
    seeds: Sequence[int],
    *,
    plateau: bool = False,
) -> Tuned:
    """Plan the trials of ``variants``.

    Args:
        tasks: of one model and data set, one a seed.
        rates: to try; None: `FACTORS` of the model's own.
        seeds: of the trials.
        plateau: whether native trains with twice the steps, too, at its best rate.
    """
    tried = rates or [float(f"{factor * model.learning_rate:.2g}") for factor in FACTORS]
    trials = [
        replace(
            tasks[0], seed=seed, learning_rate=rate, split="tuning", overrides=f"lr={rate:g} trial"
        )
        for seed in seeds
        for rate in tried
    ]
    return Tuned(
        trials=tuple(Run(task=trial, variant=variant) for trial in trials for variant in variants),
        tasks=tuple(replace(task, split="test") for task in tasks),
        variants=tuple(variants),
        plateau=plateau,
    )


def chosen(of: Tuned, values: Mapping[str, float | None], metric: Metric) -> tuple[list[Run], str]:
    """The runs that the trials chose, seed by seed, and what was chosen in one sentence.

    A variant whose best rate is native's runs once: it answers both questions.

    Args:
        values: a trial's identity -> its value at the end; None or missing if it has none.
    """
    best = {variant: _best(of, variant, values, metric) for variant in of.variants}
    native = best[of.variants[0]]
    if native is None:
        return [], f"{of.group}: no trial of {of.variants[0].label} ended, so there is no rate"
    runs: list[Run] = []
    for task in of.tasks:
        at_best = replace(task, learning_rate=native)
        for variant in of.variants:
            runs.append(Run(task=at_best, variant=variant))
            rate = best[variant]
            if not variant.is_native and rate not in (None, native):
                own = replace(variant, learning_rate=rate, tuned=True)
                runs.append(Run(task=at_best, variant=own))
    if of.plateau:
        runs += longer([replace(task, learning_rate=native) for task in of.tasks])
    said = ", ".join(
        f"{variant.label} {'no rate' if rate is None else f'{rate:g}'}"
        for variant, rate in best.items()
    )
    return runs, f"{of.group}: the best rates are {said}"


def longer(tasks: Sequence[Task]) -> list[Run]:
    """Native's runs with twice the steps: has it learned all it will? On the first seeds alone."""
    return [
        Run(task=replace(task, steps=2 * task.steps, val_every=2 * task.val_every))
        for task in tasks[:_PLATEAU_SEEDS]
    ]


def _best(
    of: Tuned, variant: Variant, values: Mapping[str, float | None], metric: Metric
) -> float | None:
    """The rate with the best mean over seeds; a rate at which a trial has no value is out."""
    by_rate: dict[float, list[float | None]] = {}
    for run in of.trials:
        if run.variant == variant:
            by_rate.setdefault(run.task.learning_rate, []).append(values.get(run.identity))
    means = {
        rate: fmean(value for value in own if value is not None)
        for rate, own in by_rate.items()
        if None not in own
    }
    if not means:
        return None
    pick = max if metric.mode == "max" else min
    return pick(means, key=lambda rate: means[rate])
