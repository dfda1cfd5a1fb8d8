"""An existing model and data set do what every domain must."""

import pytest

from dyt_bench.testing import conformance
from dyt_majority import domain

pytestmark = pytest.mark.slow

test_conformance = conformance(domain)
