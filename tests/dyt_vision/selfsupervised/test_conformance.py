"""The domain does what every domain must, as its two small models show."""

import pytest

from dyt_bench.testing import conformance
from dyt_vision.selfsupervised import domain

pytestmark = pytest.mark.slow

test_conformance = conformance(domain, models=["mae", "dino"], slow=["reference"])
