"""Which head and budget suit a checkpoint and data."""

import pytest

from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.proposals import proposals
from dyt_bench.errors import UserError


def proposed(checkpoint, data, head=None, **options):
    ((domain, task),) = proposals(discover(), checkpoint, data, options, head)
    return domain.name, task


def test_the_label_chooses_the_head(bert, gpt2, reviews, tagged):
    name, task = proposed(bert, reviews, label="mood")
    assert (name, task["models"]) == ("pretrained", ["sequence-classification"])
    assert task["learning_rate"] == 1e-3  # 5e-5 at width 768, a width of 16, and the most there is
    assert (task["batch_size"], task["steps"]) == (16, 100)
    assert proposed(bert, reviews, label="stars")[1]["models"] == ["regression"]
    assert proposed(bert, tagged, label="tags")[1]["models"] == ["token-classification"]
    assert proposed(bert, reviews)[1]["models"] == ["masked-lm"]
    assert proposed(gpt2, reviews)[1]["models"] == ["causal-lm"]
    assert proposed(bert, reviews, "regression", label="stars")[0] == "pretrained-regression"


def test_images_have_folders(timm_vit, squares):
    name, task = proposed(timm_vit, squares)
    assert (name, task["models"], task["datasets"]) == (
        "pretrained", ["image-classification"], ["images"]
    )  # fmt: skip
    with pytest.raises(UserError, match=r"takes images, .* leave out label"):
        proposed(timm_vit, squares, label="colour")


def test_what_cannot_be_proposed(bert, reviews, squares, tmp_path):
    with pytest.raises(UserError, match=r"unknown task 'regresion': .* did you mean 'regression'"):
        proposed(bert, reviews, "regresion", label="stars")
    with pytest.raises(UserError, match=r"has no column 'mod': .* did you mean 'mood'"):
        proposed(bert, reviews, label="mod")
    with pytest.raises(UserError, match="holds no file that fits"):
        proposed(bert, squares)
    with pytest.raises(UserError, match="is no folder"):
        proposed(tmp_path / "none", reviews)
