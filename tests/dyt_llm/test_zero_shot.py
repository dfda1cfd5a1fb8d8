"""Zero-shot tasks: log-likelihoods against a loop, lm-eval on a task of this file, no network."""

import importlib.util
import json
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.extensions import AddedMetric, Trained
from dyt_llm.data.tokens import Bytes
from dyt_llm.module import LanguageModel
from dyt_llm.zero_shot import TASKS, ZERO_SHOT, scores, zero_shot

INSTALLED = importlib.util.find_spec("lm_eval") is not None
needs_it = pytest.mark.skipif(not INSTALLED, reason="the extra dyt-llm[lm-eval] is not installed")


def test_the_metric_is_the_papers_fifteen_tasks():
    assert isinstance(ZERO_SHOT, AddedMetric)
    assert (ZERO_SHOT.mode, ZERO_SHOT.domains) == ("max", ("llm",))
    assert len({*TASKS}) == 15


def test_without_the_extra_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    module, data = LanguageModel("llama"), SimpleNamespace(codec=Bytes())
    with pytest.raises(
        DataError, match=r"need the package lm_eval: pip install 'dyt-llm\[lm-eval\]'"
    ):
        zero_shot(Trained(None, module, data, ()))


class Alphabet(nn.Module):
    """After each letter the next one of the alphabet is the likeliest; sees one token back."""

    def forward(self, input_ids):
        logits = nn.functional.one_hot((input_ids + 1) % 256, 256).float() * 3
        return SimpleNamespace(logits=logits)


@pytest.fixture
def scored():
    pytest.importorskip("lm_eval", reason="the extra dyt-llm[lm-eval] is not installed")
    from dyt_llm.scored import ScoredModel

    torch.manual_seed(0)
    module = LanguageModel("llama", context=8).eval()
    return ScoredModel(module, Bytes())


def asked(*args):
    return SimpleNamespace(args=args)


@needs_it
def test_a_continuation_scores_the_sum_of_its_tokens(scored):
    """Written out token by token, for texts of several lengths at once."""
    pairs = [("ab", "cd"), ("a", "b"), ("", "xyz"), ("word ", "two"), ("longer than eight", "no")]
    found = scored.loglikelihood([asked(*pair) for pair in pairs])
    for (context, continuation), (nats, likeliest) in zip(pairs, found, strict=True):
        tokens, count = list((context or "\n").encode()), len(continuation)
        if context.endswith(" "):
            count += 1
        text = tokens + list(continuation.encode())
        expected, right = 0.0, True
        for place in range(len(text) - count, len(text)):
            # the window that the model reads ends with the text
            begin = max(0, len(text) - 9)
            logits = scored.module(torch.tensor([text[begin:place]]))[0, -1].detach().double()
            expected += float(logits.log_softmax(-1)[text[place]])
            right &= int(logits.argmax()) == text[place]
        assert nats == pytest.approx(expected, rel=1e-4)
        assert likeliest == right


@needs_it
def test_a_text_is_scored_in_pieces_of_the_context(scored):
    text = "abcdefghijklmnopq"  # 17 tokens in pieces of 8
    (nats,) = scored.loglikelihood_rolling([asked(text)])
    tokens, expected = list(text.encode()), 0.0
    for place in range(17):
        begin = place - place % 8
        seen = [tokens[begin - 1] if begin else ord("\n"), *tokens[begin:place]]
        logits = scored.module(torch.tensor([seen]))[0, -1].detach().double()
        expected += float(logits.log_softmax(-1)[tokens[place]])
    assert nats == pytest.approx(expected, rel=1e-4)
    with pytest.raises(NotImplementedError, match="generates no text"):
        scored.generate_until([asked("a", {})])


@needs_it
@pytest.mark.filterwarnings("ignore")  # lm-eval's and datasets' own
def test_lm_eval_takes_the_accuracy_of_a_task_without_network(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    rows = [
        {"begin": "ab", "choices": ["c", "x"], "answer": 0},
        {"begin": "pq", "choices": ["a", "r"], "answer": 1},
        {"begin": "de", "choices": ["f", "g"], "answer": 1},  # which the model gets wrong
        {"begin": "uv", "choices": ["w", "a"], "answer": 0},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "letters.yaml").write_text(
        "task: letters\n"
        "dataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {tmp_path / 'rows.jsonl'}}}}}\n"
        f"test_split: test\n"
        "output_type: multiple_choice\n"
        "doc_to_text: '{{begin}}'\n"
        "doc_to_choice: '{{choices}}'\n"
        "doc_to_target: '{{answer}}'\n"
        "target_delimiter: ''\n"
        "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
    )
    module = LanguageModel(Alphabet(), context=8).eval()
    assert scores(module, Bytes(), ["letters"], tmp_path) == {"letters": 0.75}
    with pytest.raises(DataError, match="lm-eval has no task nonsense"):
        scores(module, Bytes(), ["nonsense"], tmp_path)


@needs_it
@pytest.mark.filterwarnings("ignore")
def test_a_data_set_that_is_not_there_is_one_sentence(tmp_path):
    (tmp_path / "gone.yaml").write_text(
        "task: gone\n"
        "dataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {tmp_path / 'none.jsonl'}}}}}\n"
        "test_split: test\noutput_type: multiple_choice\ndoc_to_text: a\n"
        "doc_to_choice: [b, c]\ndoc_to_target: 0\n"
    )
    module = LanguageModel(Alphabet(), context=8).eval()
    with pytest.raises(DataError, match="the data sets of zero-shot tasks cannot be had"):
        scores(module, Bytes(), ["gone"], tmp_path)


@needs_it
def test_lm_eval_knows_all_tasks():
    from lm_eval.tasks import TaskManager

    assert {*TASKS} <= {*TaskManager().all_tasks}
