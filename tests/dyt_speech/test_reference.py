"""The reference score of speech."""

from math import log

import pytest

from dyt_speech import domain
from dyt_speech.reference import blind_guess


@pytest.mark.parametrize(
    ("name", "negatives"), [("wav2vec2", 20), ("wav2vec2-base", 100), ("wav2vec2-large", 100)]
)
def test_a_blind_guess_holds_every_candidate_equally_likely(name, negatives):
    assert blind_guess(name) == pytest.approx(log(1 + negatives))


def test_the_domain_states_that_of_the_tasks_model(task):
    data = domain.build_data(task())
    (found,) = domain.references(task(), data)
    assert (found.role, found.score) == ("blind", blind_guess("wav2vec2"))
