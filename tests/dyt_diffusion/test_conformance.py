"""The domain does what every domain must, as its smallest model shows."""

from dyt_bench.testing import conformance
from dyt_diffusion import domain

test_conformance = conformance(domain, models=["dit"], slow=["reference"])
