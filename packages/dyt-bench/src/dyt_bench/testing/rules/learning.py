"""Rules about what training reaches, and the time it takes."""

import math
from collections.abc import Iterable

from dyt_bench.errors import quoted
from dyt_bench.suite.expand import default_val_every
from dyt_bench.suite.quantities import in_words
from dyt_bench.testing.checked import NATIVE_VARIANT, CheckedDomain, TrainedRun
from dyt_bench.testing.rule import Broken, Remark, rule
from dyt_bench.testing.rules.training import trains

SHORT = 20  # steps in which every module must improve
_PATIENCE_S = 120.0  # the longest training until the reference score is beaten
_ROUNDS = 1  # timed twice, after two for warming up


@rule(
    says="Every validation logs val/loss and the domain's metric, and both are finite.",
    why="Curves, verdicts and reports are made from the values with these names.",
    needs=(trains,),
)
def logs(checked: CheckedDomain) -> None:
    metric = checked.domain.metric.name
    rows = _short(checked).rows
    logged = {name for row in rows for name in row if name.startswith("val/")}
    for name in dict.fromkeys((metric, "val/loss")):
        validated = [row["step"] for row in rows if name in row]
        if validated != [0, SHORT]:
            others = ", ".join(sorted(logged)) or "nothing"
            raise Broken(
                f"{name} was logged, as a finite number, at {_steps(validated)} instead of "
                f"{_steps([0, SHORT])}; what was logged is {others}.",
                f"Call self.log({quoted(name)}, value) in validation_step or "
                "on_validation_epoch_end, with a finite value.",
            )


def _short(checked: CheckedDomain) -> TrainedRun:
    """The native norm trained for a while, validated before and after on the whole split."""
    return checked.run(steps=SHORT, val_every=SHORT)


def _steps(steps: Iterable[float]) -> str:
    listed = ", ".join(f"{step:g}" for step in steps)
    return f"step {listed}" if listed else "no step"


@rule(
    says=f"In {SHORT} steps with the native norm the metric improves, in the direction declared.",
    why="A metric that is read the wrong way round makes the worse variant the winner.",
    needs=(logs,),
)
def improves(checked: CheckedDomain) -> None:
    metric = checked.domain.metric
    result = _short(checked).result
    first, last = (validation[metric.name] for validation in (result.first, result.last))
    if not metric.better(last, first):
        raise Broken(
            f"{metric.name} went from {first:.6g} to {last:.6g}, and {quoted(metric.mode)} says "
            f"that {'less' if metric.mode == 'min' else 'more'} is better.",
            "Fix Metric.mode; or, if it is right, let configure_optimizers return an optimiser "
            "of the module's parameters and choose Model.learning_rate for so small a budget.",
        )


@rule(
    says="With the native norm, the metric beats a modest reference in Model.reference_steps.",
    why="In a model that has learned nothing, all variants are alike.",
    needs=(improves,),
)
def reference(checked: CheckedDomain) -> None:
    from dyt_bench.training.references import references

    domain, task = checked.domain, checked.task()
    data, _, _ = checked.parts
    with checked.calling("references"):
        data.prepare_data()
        data.setup("fit")
        found = {each.role: each for each in references(domain, task, data)}
    bar = found.get("modest") or found.get("blind")
    if bar is None:
        raise Remark("No reference score is stated: a model that learns nothing is not noticed.")
    metric, model = domain.metric, domain.models[task.model]
    short = _short(checked).result
    if metric.better(short.last[metric.name], bar.score):
        return
    steps = min(model.reference_steps or model.steps, model.steps)
    seconds = steps * short.summary["time/step_ms_median"] / 1e3
    if model.reference_steps is None and seconds > _PATIENCE_S:
        raise Remark(
            f"The {steps:,} steps of the default budget would take {in_words(seconds)}: "
            "Model.reference_steps may name fewer that are enough."
        )
    result = checked.run(steps=steps, val_every=default_val_every(steps)).result
    best = result.best.get(metric.name, math.nan)
    if not metric.better(best, bar.score):
        ended = f" ({result.reason})" if result.reason else ""
        raise Broken(
            f"In {steps} steps {metric.name} reached {best:.6g} at best{ended}, and "
            f"{bar.name} reaches {bar.score:.6g}.",
            "Give the model more steps, another rate or a larger batch until it learns; or fix "
            "Domain.references, if the simple method does not reach that.",
        )


@rule(
    says="A training step works without a Trainer, and takes no more than Model.step_s.",
    why="Steps of the variants are timed in turn in one process, without a Trainer.",
    needs=(trains,),
)
def step(checked: CheckedDomain) -> None:
    from dyt_bench.scheduling.jobs import time_task

    with checked.calling("a training step without a Trainer"):
        times = time_task(checked.task(), [NATIVE_VARIANT], rounds=_ROUNDS, domain=checked.domain)
    # The fastest: other processes on the machine only slow a step down.
    seconds = min(value for variant in times.values() for value in variant)
    most = checked.domain.models[checked.model].step_s
    if seconds > most:
        raise Broken(
            f"A step took {seconds:.3g} s, more than the {most:g} s of Model.step_s.",
            "Make the model or its batch smaller, or declare a larger Model.step_s.",
        )
