"""Reference scores: frequencies of tokens, and a Markov chain."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from dyt_bench.plugin.task import Task
from dyt_llm import domain
from dyt_llm.reference import highest_order, markov_loss, unigram_loss
from dyt_llm.tasks import build_data


def test_the_score_of_longer_tokens_is_counted_by_the_byte(task: Callable[..., Task]) -> None:
    few = task("stdlib-bpe")
    data = build_data(few, domain.datasets["stdlib"].files(None)[:12])
    windows = data.val_windows()
    counts = torch.bincount(data.train.stream.long(), minlength=1024).double()
    entropy = -((counts + 1e-9) / counts.sum()).log()[windows[:, 1:]].sum()
    size = data.codec.token_bytes[windows[:, 1:]].sum()
    assert unigram_loss(data) == pytest.approx(float(entropy / size), rel=0.02)


def test_a_chain_that_looks_back_predicts_better(task: Callable[..., Task]) -> None:
    few = task("stdlib")
    data = build_data(few, domain.datasets["stdlib"].files(None)[:12])
    losses = [markov_loss(data, order) for order in (0, 1, 3, 5)]
    assert losses[0] == unigram_loss(data)
    assert losses == sorted(losses, reverse=True)
    with pytest.raises(ValueError, match="order must be 0 to 6 for 256 tokens, got 7"):
        markov_loss(data, 7)


def test_references_of_the_embedded_text(task: Callable[..., Task]) -> None:
    few = task("kjv")
    found = domain.references(few, domain.build_data(few))
    assert [each.role for each in found] == ["blind", "modest", "strong"]
    # Counted on these 0.9 MB, in nats per byte; the entropy of English letters is about 2.9.
    assert [each.score for each in found] == pytest.approx([3.015, 1.752, 1.227], abs=1e-3)
    assert found[2].name == "Markov chain of order 5"


@pytest.mark.parametrize(("vocabulary", "order"), [(256, 5), (1024, 5), (50257, 3)])
def test_the_order_is_lower_where_words_are_numbered_too_high(vocabulary: int, order: int) -> None:
    codec = SimpleNamespace(token_bytes=torch.ones(vocabulary))
    assert highest_order(SimpleNamespace(codec=codec)) == order
