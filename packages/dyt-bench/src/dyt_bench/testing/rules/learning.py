"""What training reaches, and what it takes."""

import math
from collections.abc import Iterable

from dyt_bench.suite.expand import default_val_every
from dyt_bench.suite.quantities import in_words
from dyt_bench.testing.rule import Broken, Remark, rule
from dyt_bench.testing.tested import NATIVE_NORM, Run, Subject

SHORT = 20  # steps, in which every module improves
_PATIENCE_S = 120.0  # for training until the reference score is beaten
_ROUNDS = 1  # twice, and after two of warming up


@rule(
    says="Every validation logs val/loss and the domain's metric, and both are finite.",
    why="Curves, verdicts and reports are made of what is logged under these names.",
    needs=("trains",),
)
def logs(subject: Subject) -> None:
    metric = subject.domain.metric.name
    rows = _short(subject).rows
    logged = {name for row in rows for name in row if name.startswith("val/")}
    for name in dict.fromkeys((metric, "val/loss")):
        validated = [row["step"] for row in rows if name in row]
        if validated != [0, SHORT]:
            others = ", ".join(sorted(logged)) or "nothing"
            raise Broken(
                f"{name} was logged, as a finite number, at {_steps(validated)} instead of "
                f"{_steps([0, SHORT])}; what was logged is {others}.",
                f"Call self.log({name!r}, value) in validation_step or on_validation_epoch_end, "
                "with a finite value.",
            )


def _short(subject: Subject) -> Run:
    """The native norm trained for a while, validated before and after on all there is."""
    return subject.run(steps=SHORT, val_every=SHORT)


def _steps(steps: Iterable[float]) -> str:
    listed = ", ".join(f"{step:g}" for step in steps)
    return f"step {listed}" if listed else "no step"


@rule(
    says=f"In {SHORT} steps with the native norm the metric improves, in the direction declared.",
    why="A metric that is read the wrong way round makes the worse norm the winner.",
    needs=("logs",),
)
def improves(subject: Subject) -> None:
    metric = subject.domain.metric
    result = _short(subject).result
    first, last = (validation[metric.name] for validation in (result.first, result.last))
    if not metric.better(last, first):
        raise Broken(
            f"{metric.name} went from {first:.6g} to {last:.6g}, and {metric.mode!r} says that "
            f"{'less' if metric.mode == 'min' else 'more'} is better.",
            "Mend Metric.mode; or, if it is right, let configure_optimizers return an optimiser "
            "of the module's parameters and choose Model.learning_rate for so small a budget.",
        )


@rule(
    says="With the native norm, the metric beats the reference score in Model.reference_steps.",
    why="Norms that are compared in a model that has learned nothing are all alike.",
    needs=("improves",),
)
def reference(subject: Subject) -> None:
    domain, task = subject.domain, subject.task()
    data, _, _ = subject.parts
    with subject.calling("reference_score"):
        data.prepare_data()
        data.setup("fit")
        bar = domain.reference_score(task, data)
    if bar is None:
        raise Remark("No reference score is stated: a model that learns nothing goes unseen.")
    metric, model = domain.metric, domain.models[task.model]
    short = _short(subject).result
    if metric.better(short.last[metric.name], bar):
        return
    steps = min(model.reference_steps or model.steps, model.steps)
    seconds = steps * short.summary["time/step_ms_median"] / 1e3
    if model.reference_steps is None and seconds > _PATIENCE_S:
        raise Remark(
            f"The {steps:,} steps of the default budget would take {in_words(seconds)}: "
            "Model.reference_steps may name fewer that are enough."
        )
    result = subject.run(steps=steps, val_every=default_val_every(steps)).result
    best = result.best.get(metric.name, math.nan)
    if not metric.better(best, bar):
        ended = f" ({result.reason})" if result.reason else ""
        raise Broken(
            f"In {steps} steps {metric.name} came to {best:.6g} at best{ended}, and "
            f"{metric.reference or 'the reference score'} reaches {bar:.6g}.",
            "Give the model more steps, another rate or a larger batch until it learns; or mend "
            "Domain.reference_score, if that simple method does not reach that.",
        )


@rule(
    says="A training step works without a Trainer, and takes no more than Model.step_s.",
    why="Steps of the norms are timed in turn in one process, without a Trainer between them.",
    needs=("trains",),
)
def step(subject: Subject) -> None:
    from dyt_bench.training.run import time_task

    with subject.calling("a training step without a Trainer"):
        times = time_task(subject.task(), [NATIVE_NORM], rounds=_ROUNDS, domain=subject.domain)
    # The fastest: whoever else computes here only adds to it.
    seconds = min(value for arm in times.values() for value in arm)
    most = subject.domain.models[subject.model].step_s
    if seconds > most:
        raise Broken(
            f"A step took {seconds:.3g} s, more than the {most:g} s of Model.step_s.",
            "Make the model or its batch smaller, or declare a larger Model.step_s.",
        )
