"""DySymlog: does the function in the variant's place have to be bounded?"""

import math

import torch

import dyt

SYMLOG = dyt.register_function(
    dyt.PointwiseFunction(
        "symlog",
        f=lambda z: z.sign() * torch.log1p(z.abs()),
        df=lambda z: 1 / (1 + z.abs()),
        bound=math.inf,
        source="arXiv 2301.04104, equation 1",
    )
)


class DySymlog(dyt.PointwiseNorm):
    """``y = weight * symlog(alpha * x) + bias``: linear near zero, logarithmic far from it."""

    def __init__(self, normalized_shape, alpha_init_value=0.5, **options):
        super().__init__(
            normalized_shape, function=SYMLOG.name, alpha_init_value=alpha_init_value, **options
        )
