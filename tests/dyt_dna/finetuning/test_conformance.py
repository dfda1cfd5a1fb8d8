"""The domain does what every domain must, as its smallest model shows."""

import pytest

from dyt_bench.testing import conformance
from dyt_dna.finetuning import domain

pytestmark = pytest.mark.slow

test_conformance = conformance(domain, slow=["reference"])
