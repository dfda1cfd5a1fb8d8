"""Few-shot tasks made from held-out text: what a model learns from its context alone.

Each question has four choices of equal length, one of them right, so chance is 1/4. The model
chooses the likeliest. The same questions are asked after zero, one and four examples:

- complete: choose the second half of a line; examples are other lines of the text.
- copy: choose a word that was just given; examples are other words, each written twice.
"""

import random
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from dyt_llm.data.tokens import Codec

SHOTS = (0, 1, 4)  # examples before a question
CHOICES = 4
QUESTIONS = 64  # of each task
_LONGEST = 64  # bytes of a line, at most, even where the context allows more
_TOKENS_AT_ONCE = 2**11  # through the model
_IGNORED = -100  # a target that does not count
Model = Callable[[Tensor], Tensor]  # tokens (B, T) int64 -> logits (B, T, vocabulary)
_WORD = re.compile(r"\b[^\W\d]{5,8}\b")


@dataclass(frozen=True)
class Question:
    """A text, and possible continuations; the first is right."""

    examples: tuple[str, ...]  # as many as the largest of `SHOTS`
    prompt: str
    choices: tuple[str, ...]


def few_shot(
    model: Model, text: str, codec: Codec, context: int, device: torch.device
) -> dict[str, float]:
    """Accuracy by task and number of examples: ``complete_0shot``, ..., ``copy_4shot``.

    A task for which the text has too few lines or words is left out.

    Args:
        text: held out; questions and examples are made from it.
        context: the most tokens that the model reads.
    """
    scores = {}
    for name, ask in (("complete", complete), ("copy", copy)):
        asked = ask(text, context)
        for shots in SHOTS if asked else ():
            scores[f"{name}_{shots}shot"] = _right(model, asked, shots, codec, context, device)
    return scores


def complete(text: str, context: int) -> list[Question]:
    """Questions for the second half of a line."""
    longest = min(_LONGEST, context // (max(SHOTS) + 1) - 1)
    lines = dict.fromkeys(line.rstrip() for line in text.splitlines())
    fit = [line for line in lines if longest // 2 <= len(line.encode()) <= longest]
    cuts = [(line, _cut(line)) for line in fit]
    return _questions([(line[:cut], f"{line[cut:]}\n") for line, cut in cuts])


def copy(text: str, context: int) -> list[Question]:
    """Questions for the second copy of a word of five to eight letters."""
    words = dict.fromkeys(_WORD.findall(text))
    return _questions([(word, f" {word}\n") for word in words])


def _cut(line: str) -> int:
    """Where the first half ends: at a space, if one follows its first letter."""
    start = len(line) - len(line.lstrip())
    middle = (start + len(line)) // 2
    space = line.rfind(" ", start + 1, middle + 1)
    return middle if space < 0 else space


def _questions(parts: list[tuple[str, str]]) -> list[Question]:
    """Questions from (prompt, right choice); wrong choices are right ones of the same length."""
    chance = random.Random(0)
    by_size: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for prompt, choice in parts:
        by_size[len(choice.encode())].append((prompt, choice))
    questions = []
    for prompt, choice in chance.sample(parts, min(QUESTIONS, len(parts))):
        others = {other for _, other in by_size[len(choice.encode())]} - {choice}
        rest = [part for part in parts if part != (prompt, choice)]
        if len(others) < CHOICES - 1 or len(rest) < max(SHOTS):
            continue
        wrong = chance.sample(sorted(others), CHOICES - 1)
        examples = tuple("".join(part) for part in chance.sample(rest, max(SHOTS)))
        questions.append(Question(examples, prompt, (choice, *wrong)))
    return questions


@torch.no_grad()
def _right(
    model: Model,
    questions: list[Question],
    shots: int,
    codec: Codec,
    context: int,
    device: torch.device,
) -> float:
    """The share of questions whose right choice is the likeliest."""
    rows, targets = [], []
    for question in questions:
        before = codec.encode("".join(question.examples[:shots]) + question.prompt)
        for choice in question.choices:
            after = codec.encode(choice)
            row = [*before, *after][-context - 1 :]
            rows.append(torch.tensor(row[:-1]))
            # Only the tokens of the choice count.
            targets.append(torch.tensor([*[_IGNORED] * (len(row) - 1 - len(after)), *after]))
    at_once = max(1, _TOKENS_AT_ONCE // max(map(len, rows)))
    nats = []
    for start in range(0, len(rows), at_once):
        part = slice(start, start + at_once)
        # The padding comes after a row, and later tokens change no earlier logits: no mask needed.
        tokens = pad_sequence(rows[part], batch_first=True).to(device)
        wanted = pad_sequence(targets[part], batch_first=True, padding_value=_IGNORED).to(device)
        logits = model(tokens).float().transpose(1, 2)
        nats.append(cross_entropy(logits, wanted, ignore_index=_IGNORED, reduction="none").sum(1))
    return float((torch.cat(nats).view(-1, CHOICES).argmin(dim=1) == 0).float().mean())
