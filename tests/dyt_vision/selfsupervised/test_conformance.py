"""The domain does what every domain must, as its two small models show."""

import pytest

from dyt_bench.testing import conformance
from dyt_vision.selfsupervised import domain

pytestmark = pytest.mark.slow

test_conformance = conformance(domain, models=["mae", "dino"], slow=["reference"])


@pytest.fixture(autouse=True)
def known(request):
    """Neither small model beats logistic regression on digits: its verdicts say so."""
    if request.node.name.endswith("reference]"):
        reason = "the small models learn less than logistic regression"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
