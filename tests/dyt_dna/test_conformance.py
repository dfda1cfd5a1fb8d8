"""The domain does what every domain must, as its smallest model shows."""

from dyt_bench.testing import conformance
from dyt_dna import domain

test_conformance = conformance(domain, models=["hyena"], slow=["reference"])
