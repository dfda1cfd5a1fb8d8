"""The domain does what every domain must, as its smallest model shows."""

from dyt_bench.testing import conformance
from dyt_vision import domain

test_conformance = conformance(domain, models=["vit-w32"])
