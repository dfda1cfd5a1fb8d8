"""Shapes of texts, for forecasts without their files."""

from types import SimpleNamespace

import torch

from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.stand_in import StandIn
from dyt_bench.plugin.task import Task
from dyt_llm.data.tokens import BPE_TOKENS
from dyt_llm.shapes import SHAPES

_GPT2 = 50_257
VOCABULARIES = {
    "stdlib-bpe": BPE_TOKENS,
    "stdlib-gpt2": _GPT2,
    "openwebtext": _GPT2,
    "corpus": _GPT2,  # unless the user has a tokenizer
}
_BYTES = 256


def stand_in(task: Task, preset: TrainingPreset) -> StandIn:
    """Windows (B, context + 1) of tokens."""
    context = SHAPES[task.model].context
    token_bytes = torch.empty(
        VOCABULARIES.get(task.dataset, _BYTES), dtype=torch.long, device="meta"
    )
    data = SimpleNamespace(context=context, codec=SimpleNamespace(token_bytes=token_bytes))
    batch = torch.empty(task.batch_size, context + 1, dtype=torch.long, device="meta")
    return StandIn(data, batch)
