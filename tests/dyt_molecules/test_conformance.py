"""Both domains do what every domain must."""

import pytest

from dyt_bench.testing import conformance
from dyt_molecules import properties, smiles

pytestmark = pytest.mark.slow

test_properties = conformance(properties)
test_smiles = conformance(smiles)
