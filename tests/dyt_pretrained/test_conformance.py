"""The domains do what every domain must, as their examples show."""

from dyt_bench.testing import conformance
from dyt_pretrained import classification, language, regression

test_classification = conformance(classification, slow=["reference"])
test_regression = conformance(regression, slow=["reference"])
test_language = conformance(language, models=["masked-lm"], slow=["reference"])
