"""Reference scores against values known beforehand."""

import numpy as np
import pytest

from dyt_pretrained import classification, language, regression


def scores(domain, task):
    return {each.role: each.score for each in domain.references(task, domain.build_data(task))}


def test_of_classes(task, bert, reviews):
    found = scores(classification, task(checkpoint=bert, path=reviews, options={"label": "mood"}))
    assert found == {"blind": 0.5, "modest": 1.0, "strong": 1.0}  # words tell the mood


def test_of_numbers(task, bert, reviews):
    own = task(model="regression", checkpoint=bert, path=reviews, options={"label": "stars"})
    values = np.array(regression.build_data(own).samples.raw[1].targets)
    found = scores(regression, own)
    assert found["blind"] == pytest.approx(np.sqrt(np.mean(values**2)))


def test_of_words(task, bert, tagged):
    options = {"label": "tags", "text": "words"}
    own = task(model="token-classification", checkpoint=bert, path=tagged, options=options)
    found = scores(classification, own)
    assert 0.5 < found["blind"] < 0.8
    assert found["modest"] == 1.0


def test_of_tokens(task, bert, reviews):
    found = scores(language, task(model="masked-lm", checkpoint=bert, path=reviews))
    assert 0 < found["modest"] <= found["blind"] < np.log(21)


def test_of_images(task, timm_vit, squares):
    own = task(model="image-classification", dataset="images", checkpoint=timm_vit, path=squares)
    # Of 24 images 5 are held out, 2 of them of the class that 10 of the other 19 are of.
    assert scores(classification, own) == {"blind": 0.4, "modest": 1.0}
