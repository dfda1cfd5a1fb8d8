"""Dynamic Tanh and its family: element-wise layers that stand in for normalization."""

from dyt.audit import audit as audit
from dyt.audit import register_norm as register_norm
from dyt.calibrate import Calibration as Calibration
from dyt.calibrate import calibrate as calibrate
from dyt.convert import convert as convert
from dyt.convert import convert_ln_to_dyt as convert_ln_to_dyt
from dyt.convert import revert as revert
from dyt.convert import select as select
from dyt.family import FAMILY as FAMILY
from dyt.family import PointwiseFunction as PointwiseFunction
from dyt.family import register_function as register_function
from dyt.functional import dynamic_erf as dynamic_erf
from dyt.functional import dynamic_tanh as dynamic_tanh
from dyt.functional import pointwise_norm as pointwise_norm
from dyt.functional import use_backend as use_backend
from dyt.modules import DynamicErf as DynamicErf
from dyt.modules import DynamicTanh as DynamicTanh
from dyt.modules import PointwiseNorm as PointwiseNorm
from dyt.ops import bind as bind
from dyt.probe import Probe as Probe
from dyt.probe import SiteStatistics as SiteStatistics
from dyt.probe import probe as probe
from dyt.recipes import Recipe as Recipe
from dyt.sites import NormSite as NormSite
