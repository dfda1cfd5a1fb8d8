"""Both domains do what every domain must."""

from dyt_bench.testing import conformance
from dyt_molecules import properties, smiles

test_properties = conformance(properties, slow=["reference"])
test_smiles = conformance(smiles, slow=["reference"])
