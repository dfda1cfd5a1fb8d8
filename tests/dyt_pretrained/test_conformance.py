"""The domains do what every domain must, as their examples show."""

import pytest

from dyt_bench.testing import conformance
from dyt_pretrained import classification, language, regression

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def expected_to_fail(request):
    """The example's encoder, made for seconds, stays behind a chain of its tokens in 300 steps."""
    if request.node.name == "test_language[reference]":
        request.applymarker(pytest.mark.xfail(reason="the example is too small", strict=True))


test_classification = conformance(classification, slow=["reference"])
test_regression = conformance(regression, slow=["reference"])
test_language = conformance(language, models=["masked-lm"], slow=["reference"])
