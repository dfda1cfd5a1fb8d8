"""An existing model and data set do what every domain must."""

from dyt_bench.testing import conformance
from dyt_majority import domain

test_conformance = conformance(domain)
