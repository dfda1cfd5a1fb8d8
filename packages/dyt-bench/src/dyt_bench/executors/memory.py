"""Memory of the processes that compute: what they were once given they keep.

A training step frees the blocks that the next one asks for. By default glibc's malloc returns large
ones to the system in between and is given new ones, zeroed page by page as they are first written:
a share of the step that depends on how sizes and their order happen to fall. In the small HyenaDNA
it was 3,000 pages a step with LayerNorm and 4,000 to 5,000 with DyT, 2 to 3 % of the step, which
no layer can help.
"""

import os

_VARIABLE = "GLIBC_TUNABLES"  # read when a program starts; other C libraries have no use for it
_TUNABLES = (
    "glibc.malloc.mmap_max=0",  # no block is the system's own, to be returned when it is freed
    f"glibc.malloc.trim_threshold={2**48}",  # nor is the end of the heap
)


def environment() -> dict[str, str]:
    """What to add to the environment of a program that computes; what the user set there wins."""
    given = os.environ.get(_VARIABLE)
    return {_VARIABLE: ":".join((*_TUNABLES, *([given] if given else [])))}
