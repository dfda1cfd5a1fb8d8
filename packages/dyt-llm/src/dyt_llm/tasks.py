"""Data and module of a task: what its model, its data set and its training preset decide."""

from collections.abc import Iterable
from pathlib import Path

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.optim import optimization
from dyt_bench.plugin.task import Task
from dyt_llm.data.datamodule import TextData
from dyt_llm.module import LanguageModel
from dyt_llm.shapes import SHAPES


def build_data(task: Task, files: Iterable[Path] | None = None) -> TextData:
    """The data module of ``task.dataset``, or of some of its files."""
    return TextData(
        task.dataset,
        task.path,
        batch_size=task.batch_size,
        seed=task.seed,
        context=SHAPES[task.model].context,
        train_samples=task.train_samples,
        skip_bad_files=task.skip_bad_files,
        files=files,
        reader=task.model,
    )


def build_module(task: Task, data: TextData, preset: TrainingPreset) -> LanguageModel:
    """A model of the text of ``data``, with the preset's options."""
    micro_batch = preset.options.get("micro_batch")
    return LanguageModel(
        task.model,
        data.codec.token_bytes,
        context=data.context,
        micro_batch=None if micro_batch is None else int(micro_batch),
        recompute_layers=bool(preset.options.get("recompute_layers")),
        **optimization(task, preset),
    )
