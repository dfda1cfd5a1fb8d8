"""Reference scores of fine-tuning: majorities, linear models, naive Bayes, a Markov chain."""

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from dyt_bench.plugin.domain import Reference
from dyt_bench.plugin.markov import longest_word, markov_nats
from dyt_pretrained.data.datamodule import FineTuningData, Raw

_FITTED_TO = 10_000  # samples at most
_WORDS = r"(?u)\S+"  # whatever has no space in it: SMILES, names, numbers
_NGRAMS = (1, 3)  # of letters
_PIXELS = 3072  # values of an image at most: beyond, pixels say little about a class
_WEIGHT = 64.0  # of the chain's shorter context
_ITERATIONS = 200


def references(model: str, data: FineTuningData) -> list[Reference]:
    """What simple methods reach, in the metric of the head's domain."""
    train, val = data.samples.raw
    if model == "regression":
        return _of_numbers(train, val)
    if model in ("masked-lm", "causal-lm"):
        return _of_tokens(train, val, len(data.tokenizer))
    if model == "token-classification":
        return _of_words(train, val)
    found = [Reference("the class most frequent in training", _majority(train, val), "blind")]
    if model == "sequence-classification":
        return [*found, *_of_texts(train, val)]
    return [*found, *_of_images(data)]


def _majority(train: Raw, val: Raw) -> float:
    ((frequent, _),) = Counter(train.targets).most_common(1)
    return list(val.targets).count(frequent) / len(val.targets)


def _of_texts(train: Raw, val: Raw) -> Iterable[Reference]:
    """Accuracies of a classifier of letters, and one of words."""
    letters = make_pipeline(TfidfVectorizer(analyzer="char", use_idf=False), _logistic())
    words = make_pipeline(CountVectorizer(token_pattern=_WORDS), MultinomialNB())
    for name, method, role in (
        ("logistic regression of letters", letters, "modest"),
        ("naive Bayes of words", words, "strong"),
    ):
        yield Reference(name, _fitted(method, train, val), role)  # type: ignore[arg-type]


def _of_images(data: FineTuningData) -> Iterable[Reference]:
    """Accuracy of a linear classifier of small images' pixels."""
    train, val = data.samples.train, data.samples.val
    if train[0][0].numel() > _PIXELS:
        return
    sides = []
    for side in (train, val):
        count = min(len(side), _FITTED_TO)  # type: ignore[arg-type]
        samples = [side[index] for index in range(count)]
        images = np.stack([image.flatten().numpy() for image, _ in samples])
        sides.append(Raw(images, [label for _, label in samples]))  # type: ignore[arg-type]
    score = _fitted(_logistic(), *sides)
    yield Reference("logistic regression of the pixels", score, "modest")


def _of_numbers(train: Raw, val: Raw) -> list[Reference]:
    """RMSE in standard deviations of the training set."""
    ridge = make_pipeline(TfidfVectorizer(analyzer="char", ngram_range=_NGRAMS), Ridge())
    ridge.fit(train.inputs[:_FITTED_TO], train.targets[:_FITTED_TO])
    targets = np.array(val.targets)
    return [
        Reference("the mean of the training set", _rmse(targets, np.zeros(len(targets))), "blind"),
        Reference(
            f"ridge regression of {_NGRAMS[0]} to {_NGRAMS[1]} letters",
            _rmse(targets, ridge.predict(val.inputs)),
            "modest",
        ),
    ]


def _rmse(targets: NDArray[Any], found: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean((targets - found) ** 2)))


def _of_words(train: Raw, val: Raw) -> list[Reference]:
    """Accuracies of the most frequent tag, and of each word's most frequent tag."""
    tags = Counter(tag for line in train.targets for tag in line)
    ((frequent, _),) = tags.most_common(1)
    by_word: dict[str, Counter[int]] = {}
    for words, line in zip(train.inputs, train.targets, strict=True):
        for word, tag in zip(words, line, strict=True):
            by_word.setdefault(word, Counter())[tag] += 1
    own = {word: counts.most_common(1)[0][0] for word, counts in by_word.items()}
    pairs = [
        (own.get(word, frequent), tag)
        for words, line in zip(val.inputs, val.targets, strict=True)
        for word, tag in zip(words, line, strict=True)
    ]
    blind = sum(tag == frequent for _, tag in pairs) / len(pairs)
    known = sum(guess == tag for guess, tag in pairs) / len(pairs)
    return [
        Reference("the tag most frequent in training", blind, "blind"),
        Reference("each word's most frequent tag", known, "modest"),
    ]


def _of_tokens(train: Raw, val: Raw, vocabulary: int) -> list[Reference]:
    """Nats per token of frequencies and of a chain that sees the token before."""
    windows = _rows(val.inputs)
    # A chain's targets are a token of the window; those of the model may be the token after.
    wanted = windows >= 0
    wanted[:, 0] = False
    scores = []
    for order in (0, min(1, longest_word(vocabulary) - 1)):
        nats = markov_nats(
            [np.array(ids) for ids in train.inputs],
            windows,
            vocabulary=vocabulary,
            order=order,
            weight=_WEIGHT,
            targets=wanted,
        )
        scores.append(nats / int(wanted.sum()))
    return [
        Reference("frequencies of tokens (unigram)", scores[0], "blind"),
        Reference("Markov chain of order 1", scores[1], "modest"),
    ]


def _rows(ids: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """(N, T) tokens, -1 where a text has none."""
    rows = np.full((len(ids), max(map(len, ids))), -1, dtype=np.int64)
    for row, own in zip(rows, ids, strict=True):
        row[: len(own)] = own
    return rows


def _logistic() -> LogisticRegression:
    return LogisticRegression(max_iter=_ITERATIONS)


def _fitted(method: Any, train: Raw, val: Raw) -> float:
    """Accuracy on ``val`` after fitting to ``train``."""
    with warnings.catch_warnings():  # a few more iterations would change the last digit
        warnings.simplefilter("ignore", ConvergenceWarning)
        method.fit(train.inputs[:_FITTED_TO], train.targets[:_FITTED_TO])
    return float(method.score(val.inputs, val.targets))
