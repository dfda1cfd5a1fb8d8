"""The mean accuracy of a trained model on zero-shot tasks, by lm-eval, which is an extra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from dyt_bench.plugin.domain import DataError, listed, reason
from dyt_bench.plugin.extensions import AddedMetric, Trained

if TYPE_CHECKING:
    from dyt_llm.data.tokens import Codec
    from dyt_llm.module import LanguageModel

# The 15 of arXiv 2503.10622, LLaMA.
TASKS = (
    "anli_r1",
    "anli_r2",
    "anli_r3",
    "arc_challenge",
    "arc_easy",
    "boolq",
    "hellaswag",
    "openbookqa",
    "piqa",
    "record",
    "rte",
    "truthfulqa_mc1",
    "truthfulqa_mc2",
    "wic",
    "winogrande",
)
_METRICS = ("acc,none", "f1,none")  # of a task, the first that it has; record has no accuracy


def zero_shot(trained: Trained) -> float:
    """The mean of `TASKS`, for `AddedMetric`.

    Raises:
        DataError: as `scores`.
    """
    module: Any = trained.module
    data: Any = trained.data
    return fmean(scores(module, data.codec, TASKS).values())


def scores(
    module: LanguageModel,
    codec: Codec,
    tasks: Sequence[str],
    folder: Path | None = None,
) -> Mapping[str, float]:
    """Task -> its accuracy, or F1 where it has none, without examples.

    Args:
        module: trained, in eval mode.
        codec: of the text that it was trained on.
        tasks: names that lm-eval knows.
        folder: with more tasks, as lm-eval's YAML files.

    Raises:
        DataError: lm-eval is not installed, or the tasks' data sets cannot be had.
    """
    try:
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager

        from dyt_llm.scored import ScoredModel
    except ModuleNotFoundError as error:
        raise DataError(
            f"zero-shot tasks need the package {error.name}: pip install 'dyt-llm[lm-eval]'"
        ) from None
    manager = TaskManager(include_path=None if folder is None else str(folder))
    if unknown := sorted(set(tasks) - {*manager.all_tasks}):
        raise DataError(f"lm-eval has no task {listed(unknown)}: take another release of it")
    model = ScoredModel(module, codec)
    try:
        found = simple_evaluate(
            model=model,
            tasks=list(tasks),
            num_fewshot=0,
            bootstrap_iters=0,
            log_samples=False,
            task_manager=manager,
        )
    except (OSError, ValueError) as error:  # what datasets makes of a file that is not there
        raise DataError(
            "the data sets of zero-shot tasks cannot be had, which come from the Hugging Face Hub: "
            f"{reason(error)}; connect this machine, or put them into the cache of datasets"
        ) from error
    return {task: _score(task, found["results"][task]) for task in tasks}


def _score(task: str, results: Mapping[str, Any]) -> float:
    for metric in _METRICS:
        if metric in results:
            return float(results[metric])
    raise DataError(f"task {task} has neither accuracy nor F1, but {listed(sorted(results))}")


ZERO_SHOT = AddedMetric(
    title="accuracy, mean of 15 zero-shot tasks",
    mode="max",
    compute=zero_shot,
    domains=("llm",),
    api_version=2,
)
