"""Metrics taken once at the end: how a model uses its context."""

from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from dyt_llm.data.datamodule import TextData
from dyt_llm.in_context import CHOICES, SHOTS, few_shot
from dyt_llm.module import LanguageModel

_HELD_OUT = 2**20  # tokens of the held-out text that questions are made from, at most


def evaluate(module: LanguageModel, data: TextData, folder: Path) -> dict[str, float]:
    """Metrics of how the model uses its context; draws ``in_context.png`` into ``folder``.

    ``complete_0shot`` and the like are accuracies of `few_shot`; chance is ``few_shot_chance``.
    """
    context = data.context
    text = data.codec.decode(data.held_out.stream[:_HELD_OUT].tolist())
    accuracy = few_shot(module, text, data.codec, context, module.device)
    _draw(accuracy, loss_by_position(module, data.val_windows()), folder / "in_context.png")
    return {**accuracy, "few_shot_chance": 1 / CHOICES}


@torch.no_grad()
def loss_by_position(module: LanguageModel, windows: Tensor) -> Tensor:
    """(N, context + 1) windows -> (context,) mean nats of the target at each place."""
    parts = [
        module.token_nats(part.to(module.device)).sum(0).cpu() for part in torch.split(windows, 8)
    ]
    return torch.stack(parts).sum(0) / len(windows)


def _draw(accuracy: dict[str, float], nats: Tensor, file: Path) -> None:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    # A single place is noisy: means over places 1, 2 to 3, 4 to 7, ...
    starts = [2**n for n in range(len(nats).bit_length())]
    left.plot(starts, [nats[start - 1 : 2 * start - 1].mean() for start in starts], marker="o")
    left.set_xscale("log", base=2)
    left.set(xlabel="place in the window, up to the next point", ylabel="loss (nats/token)")
    left.set_title("Loss by length of context", fontsize=10)
    for task in dict.fromkeys(name.rpartition("_")[0] for name in accuracy):
        right.plot(SHOTS, [accuracy[f"{task}_{n}shot"] for n in SHOTS], marker="o", label=task)
    right.axhline(1 / CHOICES, color="grey", linestyle=":", label="chance")
    right.set(xlabel="examples before the question", ylabel="accuracy", ylim=(0, 1), xticks=SHOTS)
    right.set_title("In-context accuracy", fontsize=10)
    right.legend(fontsize=8)
    figure.savefig(file, dpi=150)
