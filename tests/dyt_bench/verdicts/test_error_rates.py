"""How often a page holds a false verdict, by simulation of whole pages."""

import numpy as np
import pytest

from dyt_bench.scheduling.stopping import LOOKS
from dyt_bench.verdicts.statistics import CONFIDENCE, compare, judge, pooled_spread

pytestmark = pytest.mark.slow

MODELS, VARIANTS = 5, 3
PAGES = 250
MARGIN = 1.0
AT_MOST = 0.05 + 2 * (0.05 * 0.95 / PAGES) ** 0.5  # five per cent, and what 250 pages leave open


def draw(rng, noise, shape):
    return {
        "normal": lambda: rng.normal(size=shape),
        "skewed": lambda: rng.exponential(size=shape) - 1,
        "heavy": lambda: rng.standard_t(3, size=shape),
        # One run of eight loses all it learned, and is not found to have collapsed.
        "collapsing": lambda: rng.normal(size=shape) - 20 * (rng.random(shape) < 1 / 8),
    }[noise]()


def page(rng, noise, seeds, *, shift=0.0, spreads=(1.0,) * VARIANTS):
    """The judged comparisons of a page, a model's variants against the same baseline runs."""
    found = []
    for _ in range(MODELS):
        native = draw(rng, noise, seeds)
        runs = [spread * draw(rng, noise, seeds) + shift for spread in spreads]
        gains = [list(own - native) for own in runs]
        pooled = pooled_spread(gains)
        found += [compare(own, MARGIN, pooled=pooled) for own in gains]
    return found


def share(pages, words):
    return np.mean([any(c.verdict in words for c in one) for one in pages])


@pytest.mark.parametrize("seeds", [3, 5, 8])
@pytest.mark.parametrize("noise", ["normal", "skewed", "heavy", "collapsing"])
def test_a_page_of_equals_claims_a_difference_in_at_most_five_cases_of_a_hundred(noise, seeds):
    rng = np.random.default_rng(0)
    pages = [judge(page(rng, noise, seeds)) for _ in range(PAGES)]
    assert share(pages, ("better", "worse")) <= AT_MOST


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_a_variant_that_spreads_more_than_the_others_is_not_called_different(seeds):
    rng = np.random.default_rng(0)
    pages = [judge(page(rng, "normal", seeds, spreads=(3.0, 1.0, 1.0))) for _ in range(PAGES)]
    assert share(pages, ("better", "worse")) <= AT_MOST


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_a_page_of_differences_as_large_as_the_margin_calls_few_of_them_equivalent(seeds):
    rng = np.random.default_rng(0)
    pages = [judge(page(rng, "normal", seeds, shift=-MARGIN)) for _ in range(PAGES)]
    assert share(pages, ("equivalent",)) <= AT_MOST


@pytest.mark.parametrize("noise", ["normal", "skewed", "collapsing"])
def test_looking_several_times_keeps_the_level(noise):
    """As `run --until decided` does: a page is wrong if it is at any look."""
    rng = np.random.default_rng(0)
    level = (1 - CONFIDENCE) / len(LOOKS)
    wrong = 0
    for _ in range(PAGES):
        whole = page(rng, noise, LOOKS[-1])
        wrong += any(
            c.verdict in ("better", "worse")
            for look in LOOKS
            for c in judge([compare(own.gains[:look], MARGIN) for own in whole], level=level)
        )
    assert wrong / PAGES <= AT_MOST


def test_what_differs_by_much_is_found_with_three_seeds():
    rng = np.random.default_rng(0)
    pages = [page(rng, "normal", 3, shift=-10.0) for _ in range(50)]
    words = [c.verdict for one in pages for c in judge(one)]
    assert words.count("worse") > 0.8 * len(words)
