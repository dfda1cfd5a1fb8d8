"""What is measured once, of a trained model: use of its context, and a chain to compare with."""

from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from dyt_llm.data import TextData
from dyt_llm.in_context import CHOICES, SHOTS, few_shot
from dyt_llm.markov import COUNTED, longest_word, markov_nats
from dyt_llm.module import LanguageModel

MARKOV_ORDER = 5  # the chain to compare with: of byte chains up to it the best on Python's source
_HELD_OUT = 2**20  # tokens of the held-out text that questions are made from, at most


def unigram_loss(data: TextData) -> float:
    """Nats per byte of the validation text, predicted by the frequencies of single tokens."""
    return _chain_loss(data, order=0)


def evaluate(module: LanguageModel, data: TextData, folder: Path) -> dict[str, float]:
    """Figures, and ``in_context.png`` in ``folder``: what the model makes of its context.

    - ``complete_0shot`` and the like: `few_shot` accuracy, of which chance is ``few_shot_chance``;
    - ``markov5_loss``: nats per byte of a Markov chain on tokens, to be compared with
      ``val/loss``; of a lower order where five tokens have no number of 63 bits.
    """
    context = data.context
    text = data.codec.decode(data.held_out.stream[:_HELD_OUT].tolist())
    accuracy = few_shot(module, text, data.codec, context, module.device)
    _draw(accuracy, loss_by_position(module, data.val_windows()), folder / "in_context.png")
    order = min(MARKOV_ORDER, longest_word(len(data.codec.token_bytes)) - 1)
    return {
        **accuracy,
        "few_shot_chance": 1 / CHOICES,
        f"markov{order}_loss": _chain_loss(data, order),
    }


@torch.no_grad()
def loss_by_position(module: LanguageModel, windows: Tensor) -> Tensor:
    """(context,) mean nats of the tokens at each place of (N, context + 1) windows."""
    parts = [module.token_nats(part.to(module.device)).sum(0).cpu() for part in windows.split(8)]
    return torch.stack(parts).sum(0) / len(windows)


def _chain_loss(data: TextData, order: int) -> float:
    windows = data.val_windows()
    token_bytes = data.codec.token_bytes
    nats = markov_nats(data.train_stream(COUNTED), windows, len(token_bytes), order)
    return nats / int(token_bytes[windows[:, 1:]].sum())


def _draw(accuracy: dict[str, float], nats: Tensor, file: Path) -> None:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    # A place alone is noise: means over places 1, 2 to 3, 4 to 7, ...
    starts = [2**n for n in range(len(nats).bit_length())]
    left.plot(starts, [nats[start - 1 : 2 * start - 1].mean() for start in starts], marker="o")
    left.set_xscale("log", base=2)
    left.set(xlabel="place in the window, and on to the next point", ylabel="loss (nats/token)")
    left.set_title("Loss by length of context", fontsize=10)
    for task in dict.fromkeys(name.rpartition("_")[0] for name in accuracy):
        right.plot(SHOTS, [accuracy[f"{task}_{n}shot"] for n in SHOTS], marker="o", label=task)
    right.axhline(1 / CHOICES, color="grey", linestyle=":", label="chance")
    right.set(xlabel="examples before the question", ylabel="accuracy", ylim=(0, 1), xticks=SHOTS)
    right.set_title("In-context accuracy", fontsize=10)
    right.legend(fontsize=8)
    figure.savefig(file, dpi=150)
