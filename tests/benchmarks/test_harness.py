"""The harness's own measurements: how false words on time are counted."""

import numpy as np
import pytest
from benchmarks.harness.same_model import COPY, judged

from dyt_bench.plugin.task import AA


def builds(slower, *, number=6, rounds=9):
    generator = np.random.default_rng(0)
    for _ in range(number):
        seconds = generator.normal(1.0, 0.01, (3, rounds))
        yield dict(
            zip(("native", COPY, AA), (seconds * [[1], [slower], [1]]).tolist(), strict=True)
        )


@pytest.mark.parametrize(
    ("slower", "false", "word"), [(1.0, 0.0, "no difference"), (1.2, 1.0, "slower")]
)
def test_words_on_a_copy_are_counted_over_all_threes(slower, false, word):
    found = judged(list(builds(slower)))
    assert (found["builds"], found["false_words"], found["word"]) == (6, false, word)
    assert found["ratio"][0] == pytest.approx(slower, rel=0.02)
