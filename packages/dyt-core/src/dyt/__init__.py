"""Dynamic Tanh and its family: element-wise layers that stand in for normalization."""

from dyt._ops import bind as bind
from dyt._probe import Probe as Probe
from dyt._probe import SiteStatistics as SiteStatistics
from dyt._probe import probe as probe
from dyt._surgery.audit import audit as audit
from dyt._surgery.audit import register_norm as register_norm
from dyt._surgery.calibrate import Calibration as Calibration
from dyt._surgery.calibrate import calibrate as calibrate
from dyt._surgery.convert import convert as convert
from dyt._surgery.convert import convert_ln_to_dyt as convert_ln_to_dyt
from dyt._surgery.convert import revert as revert
from dyt._surgery.convert import select as select
from dyt._surgery.sites import NormSite as NormSite
from dyt.functional import dynamic_erf as dynamic_erf
from dyt.functional import dynamic_tanh as dynamic_tanh
from dyt.functional import pointwise_norm as pointwise_norm
from dyt.functional import use_backend as use_backend
from dyt.functions import FAMILY as FAMILY
from dyt.functions import PointwiseFunction as PointwiseFunction
from dyt.functions import register_function as register_function
from dyt.layers import DynamicErf as DynamicErf
from dyt.layers import DynamicTanh as DynamicTanh
from dyt.layers import PointwiseNorm as PointwiseNorm
from dyt.recipes import Recipe as Recipe
