"""Few-shot questions: fair, answered by copying, right by chance otherwise."""

import random
import string
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from dyt_llm.data.tokens import Bytes
from dyt_llm.in_context import CHOICES, SHOTS, complete, copy, few_shot

_CHANCE = random.Random(0)
WORDS = ["".join(_CHANCE.sample(string.ascii_lowercase, 5)) for _ in range(300)]
TEXT = "\n".join(f"{first} and {second}" for first, second in pairwise(WORDS))
CPU = torch.device("cpu")


def copier(tokens: Tensor) -> Tensor:
    """Expects what followed the last occurrence of the token before; nothing, if it is new."""
    logits = torch.zeros(*tokens.shape, 256)
    for row, line in enumerate(tokens.tolist()):
        for place, token in enumerate(line):
            for earlier in range(place - 1, -1, -1):
                if line[earlier] == token:
                    logits[row, place, line[earlier + 1]] = 5.0
                    break
    return logits


def random_model(tokens: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*tokens.shape, 256, generator=generator)


@pytest.mark.parametrize("ask", [complete, copy])
def test_questions_are_fair(ask) -> None:
    questions = ask(TEXT, 128)
    assert len(questions) == 64
    for question in questions:
        assert len(question.choices) == len(set(question.choices)) == CHOICES
        assert len({len(choice.encode()) for choice in question.choices}) == 1
        assert len(question.examples) == max(SHOTS)
        right = question.prompt + question.choices[0]
        assert right not in question.examples
        assert len(("".join(question.examples) + right).encode()) <= 128
    assert ask(TEXT, 128) == questions


def test_a_model_that_copies_is_right_where_copying_is() -> None:
    scores = few_shot(copier, TEXT, Bytes(), 128, CPU)
    assert set(scores) == {f"{task}_{n}shot" for task in ("complete", "copy") for n in SHOTS}
    assert scores["copy_4shot"] > 0.7


def test_one_that_knows_nothing_is_right_by_chance() -> None:
    scores = few_shot(random_model, TEXT, Bytes(), 128, CPU)
    assert all(0.05 < score < 0.5 for score in scores.values())
    assert scores == few_shot(random_model, TEXT, Bytes(), 128, CPU)


def test_what_does_not_fit_the_context_loses_its_beginning() -> None:
    lengths = []

    def model(tokens: Tensor) -> Tensor:
        lengths.append(tokens.shape[1])
        return one_hot(tokens, 256).float()

    few_shot(model, TEXT, Bytes(), 30, CPU)
    assert max(lengths) == 30


@pytest.mark.parametrize("text", ["", "one word\n", "\n" * 1000])
def test_a_text_that_is_too_short_asks_nothing(text: str) -> None:
    assert few_shot(random_model, text, Bytes(), 128, CPU) == {}
