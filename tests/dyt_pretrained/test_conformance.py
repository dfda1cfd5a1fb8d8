"""The domains do what every domain must, as their examples show."""

import pytest

from dyt_bench.testing import conformance
from dyt_pretrained import classification, language, regression

pytestmark = pytest.mark.slow

test_classification = conformance(classification, slow=["reference"])
test_regression = conformance(regression, slow=["reference"])
test_language = conformance(language, models=["masked-lm"], slow=["reference"])
