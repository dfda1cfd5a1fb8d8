"""Dynamic Tanh and its family: element-wise layers that take the place of normalization.

Layers: `DynamicTanh`, `DynamicErf`, `PointwiseNorm`. Put them into a model: `convert`, `revert`,
`calibrate`. Train it: `no_decay`, `set_progress`, `settle`. Keep and serve it: `save`, `load`,
`fold`. Look into a model: `audit`, `probe`, `alphas`. The modules `variants` and `recipes` hold
what `convert` takes by name, `functions` the point-wise functions, `functional` the layers as
functions and the choice of a backend.
"""

from dyt import functional, functions, layers, norms, parts, recipes, rivals, variants
from dyt._audit.audit import audit, register_norm
from dyt._audit.sites import NormSite
from dyt._gradual import Gradual
from dyt._jacobian import jacobian_norms
from dyt._ops import bind
from dyt._probe import Probe, SiteStatistics, alphas, probe
from dyt._surgery.calibrate import Calibration, CalibrationWarning, calibrate
from dyt._surgery.convert import convert, convert_ln_to_dyt, revert, select
from dyt._surgery.decay import no_decay
from dyt._surgery.fold import Folding, fold
from dyt._surgery.loading import load
from dyt._surgery.placing import original
from dyt._surgery.progress import set_progress, settle
from dyt._surgery.saving import save
from dyt.functional import backends, dynamic_erf, dynamic_tanh, pointwise_norm, use_backend
from dyt.functions import FAMILY, PointwiseFunction, register_function
from dyt.layers import DynamicErf, DynamicISRU, DynamicTanh, PointwiseNorm
from dyt.norms import BHyT, SeeDNorm, TaperNorm
from dyt.parts import ScaledEmbedding
from dyt.recipes import Recipe

__version__ = "0.2.0"  # the package's metadata takes it from here

__all__ = [
    "FAMILY",
    "BHyT",
    "Calibration",
    "CalibrationWarning",
    "DynamicErf",
    "DynamicISRU",
    "DynamicTanh",
    "Folding",
    "Gradual",
    "NormSite",
    "PointwiseFunction",
    "PointwiseNorm",
    "Probe",
    "Recipe",
    "ScaledEmbedding",
    "SeeDNorm",
    "SiteStatistics",
    "TaperNorm",
    "__version__",
    "alphas",
    "audit",
    "backends",
    "bind",
    "calibrate",
    "convert",
    "convert_ln_to_dyt",
    "dynamic_erf",
    "dynamic_tanh",
    "fold",
    "functional",
    "functions",
    "jacobian_norms",
    "layers",
    "load",
    "no_decay",
    "norms",
    "original",
    "parts",
    "pointwise_norm",
    "probe",
    "recipes",
    "register_function",
    "register_norm",
    "revert",
    "rivals",
    "save",
    "select",
    "set_progress",
    "settle",
    "use_backend",
    "variants",
]


def __dir__() -> list[str]:
    return __all__
