"""Settings of malloc for the processes that compute: they keep the memory they have been given.

A training step frees blocks that the next one allocates again. By default glibc's malloc returns
large blocks to the system in between, and the system zeroes the pages of new ones as they are
first written. This takes a share of the step that depends on the sizes of the blocks and their
order: in the small HyenaDNA 3,000 pages a step with LayerNorm and 4,000 to 5,000 with DyT, 2 to 3 %
of the step, whatever the layer computes.
"""

import os

_VARIABLE = "GLIBC_TUNABLES"  # read when a program starts; other C libraries ignore it
_TUNABLES = (
    "glibc.malloc.mmap_max=0",  # no block is mapped by itself and returned when it is freed
    f"glibc.malloc.trim_threshold={2**48}",  # nor is the end of the heap returned
)


def environment() -> dict[str, str]:
    """Variables for the environment of a program that computes; the user's own settings win."""
    given = os.environ.get(_VARIABLE)
    return {_VARIABLE: ":".join((*_TUNABLES, *([given] if given else [])))}
