"""Batches of every head, and what does not fit it."""

import csv

import pytest
import torch

from dyt_bench.plugin.domain import DataError
from dyt_pretrained import classification, language, regression
from dyt_pretrained.data.encoding import IGNORED

DOMAINS = {"regression": regression, "masked-lm": language, "causal-lm": language}


def data(task):
    return DOMAINS.get(task.model, classification).build_data(task)


def first(task):
    return next(iter(data(task).train_dataloader()))


def test_classes(task, bert, reviews):
    own = task(checkpoint=bert, path=reviews, options={"label": "mood", "text": "review"})
    inputs, targets = first(own)
    assert inputs["input_ids"].shape == inputs["attention_mask"].shape
    assert inputs["input_ids"].shape[0] == 8
    assert set(targets.tolist()) <= {0, 1}
    assert data(own).samples.classes == ["bad", "good"]


def test_columns_become_one_text(task, bert, reviews):
    own = task(checkpoint=bert, path=reviews, options={"label": "mood", "text": "review,stars"})
    assert data(own).samples.raw[0].inputs[0].startswith("review: ")


def test_numbers_are_standardized(task, bert, reviews):
    own = task(model="regression", checkpoint=bert, path=reviews, options={"label": "stars"})
    made = data(own)
    values = torch.tensor(made.samples.raw[0].targets)
    assert abs(values.mean()) < 1e-6
    assert values.std(unbiased=False) == pytest.approx(1)


def test_words_have_tags(task, bert, tagged):
    options = {"label": "tags", "text": "words"}
    own = task(model="token-classification", checkpoint=bert, path=tagged, options=options)
    inputs, targets = first(own)
    assert inputs["input_ids"].shape == targets.shape
    assert ((targets != IGNORED).sum(1) == 5).all()


def test_the_next_token_is_the_target(task, gpt2, reviews):
    own = task(model="causal-lm", checkpoint=gpt2, path=reviews, options={"text": "review"})
    inputs, targets = first(own)
    assert torch.equal(inputs["input_ids"][:, 1:], targets[:, :-1].where(
        targets[:, :-1] != IGNORED, inputs["input_ids"][:, 1:]
    ))  # fmt: skip
    assert (targets[:, -1] == IGNORED).all()


def test_images(task, timm_vit, squares):
    own = task(model="image-classification", dataset="images", checkpoint=timm_vit, path=squares)
    inputs, targets = first(own)
    assert inputs["pixel_values"].shape == (8, 3, 16, 16)
    assert set(targets.tolist()) == {0, 1}
    assert data(own).samples.classes == ["blue", "red"]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (
            {"dataset": "digits"},
            "the data set 'digits' holds images, and 'sequence-classification' reads text",
        ),
        ({"options": {}}, "needs a label: name its column"),
        ({"options": {"label": "moood"}}, "did you mean 'mood'"),
        ({"options": {"label": "stars"}}, "'stars' has 60 classes in 60 rows"),
        ({"options": {"label": "mood", "length": "99"}}, "at most the 32 tokens"),
        ({"model": "regression", "options": {"label": "mood"}}, "row 1: 'mood' must be a number"),
        (
            {"model": "token-classification", "options": {"label": "mood", "text": "review"}},
            "row 1: expected a list of words",
        ),
    ],
)
def test_what_does_not_fit(changes, what, task, bert, reviews):
    own = {"checkpoint": bert, "path": reviews, "options": {"label": "mood"}} | changes
    if "digits" in changes.values():
        own["path"] = None
    with pytest.raises(DataError, match=what):
        data(task(**own))


def test_one_class_alone(task, bert, tmp_path):
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["x", "y"], *([f"t{n}", "a"] for n in range(9))])
    own = task(checkpoint=bert, path=tmp_path / "t.csv", options={"label": "y"})
    with pytest.raises(DataError, match="one class alone, \\['a'\\]"):
        data(own)


def test_a_checkpoint_without_tokenizer(task, timm_vit, bert, reviews, tmp_path):
    options = {"label": "mood"}
    with pytest.raises(DataError, match="takes images, and 'sequence-classification' reads text"):
        data(task(checkpoint=timm_vit, path=reviews, options=options))
    for file in bert.iterdir():
        if "token" not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(DataError, match="has no tokenizer that transformers can load"):
        data(task(checkpoint=tmp_path, path=reviews, options=options))
