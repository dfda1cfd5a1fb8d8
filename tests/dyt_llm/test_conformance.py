"""The domain does what every domain must, as its smallest model shows."""

import pytest

from dyt_bench.testing import conformance
from dyt_llm import domain

pytestmark = pytest.mark.slow

test_conformance = conformance(domain, models=["llama"], slow=["reference"])
